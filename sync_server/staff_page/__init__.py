"""`/staff`: a page for the people who answer for the people in the store."""
