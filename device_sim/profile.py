"""The unified profile of the current owner, as last received: what others of the person's devices and tills saw."""

from collections import Counter

import msgspec

from contracts import codec
from contracts.consent import Consent, Purpose
from contracts.summary import Activity, OrderLine, Summary
from contracts.sync import ProfileDelta
from contracts.windows import KEPT_HOURS, HourCounts
from device_sim.database import Database

_ACTIVITY = msgspec.json.Decoder(Activity)
_LINES = msgspec.json.Decoder(dict[str, OrderLine])


class _Head(msgspec.Struct, frozen=True):
    """What is held beside items and orders."""

    version: int = 0  # 0: nothing is held
    owners: tuple[str, ...] = ()
    consents: dict[Purpose, Consent] = {}


class HeldProfile:
    """At most one owner's profile: a change of owner wipes the previous one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def owner(self) -> str | None:
        """The current owner: a login, a card, or an anonymous session."""
        value = self._database.get("owner")
        return None if value is None else value.decode()

    @property
    def version(self) -> int:
        return self._head().version

    @property
    def owners(self) -> tuple[str, ...]:
        """Whose events the profile unifies, as far as they have names on this device."""
        return self._head().owners

    @property
    def consents(self) -> dict[Purpose, Consent]:
        """The standing decisions, as last received."""
        return self._head().consents

    def change_owner(self, owner: str | None) -> None:
        """From now on the device is used by this owner, who sees nothing of the one before."""
        with self._database.transaction():
            if owner != self.owner:
                self.forget()
                self._database.put("owner", None if owner is None else owner.encode())

    def apply(self, delta: ProfileDelta) -> bool:
        """Take a delta; to be called inside the transaction that takes the verdicts of the same answer.

        A delta for another owner came too late and is ignored; one that does not start from what is held is worthless,
        and the whole profile is asked for next time.

        Returns:
            whether the profile held is now the one that the delta leads to.
        """
        if delta.owner != self.owner:
            return False
        held = self._head()
        if delta.base_version not in (0, held.version):
            self.forget()
            return False
        with self._database.transaction() as connection:
            if delta.base_version == 0:
                self.forget()
                held = _Head()
            for item, activity in delta.items.items():
                connection.execute("DELETE FROM profile_items WHERE item = ?", (item,))
                if activity is not None:
                    connection.execute("INSERT INTO profile_items VALUES (?, ?)", (item, codec.encode(activity)))
            for order, lines in delta.orders.items():
                connection.execute("DELETE FROM profile_orders WHERE order_id = ?", (order,))
                if lines is not None:
                    connection.execute("INSERT INTO profile_orders VALUES (?, ?)", (order, codec.encode(lines)))
            for one in delta.hours:
                row = (one.hour, one.event, one.count)
                connection.execute("INSERT OR REPLACE INTO profile_hours VALUES (?, ?, ?)", row)
            connection.execute(
                "DELETE FROM profile_hours WHERE hour <= (SELECT max(hour) FROM profile_hours) - ?", (KEPT_HOURS,)
            )
            head = _Head(delta.version, delta.owners or held.owners, held.consents | delta.consents)
            self._database.put("profile", codec.encode(head))
        return True

    def summary(self) -> Summary:
        """The profile as the monoid that the device's own events are merged into."""
        items = self._database.connection.execute("SELECT item, activity FROM profile_items ORDER BY item")
        orders = self._database.connection.execute("SELECT order_id, lines FROM profile_orders ORDER BY order_id")
        return Summary(
            items={item: _ACTIVITY.decode(activity) for item, activity in items},
            orders={order: _LINES.decode(lines) for order, lines in orders},
        )

    def hour_counts(self) -> HourCounts:
        """What the profile's owners did in each of the last hours, but for what their orders tell."""
        rows = self._database.connection.execute("SELECT hour, event, count FROM profile_hours ORDER BY hour, event")
        return Counter({(hour, event): count for hour, event, count in rows})

    def forget(self) -> None:
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM profile_items")
            connection.execute("DELETE FROM profile_orders")
            connection.execute("DELETE FROM profile_hours")
            self._database.put("profile", None)

    def _head(self) -> _Head:
        value = self._database.get("profile")
        return _Head() if value is None else codec.decode(value, _Head)
