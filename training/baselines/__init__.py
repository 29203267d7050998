"""What every report compares the models with; importing the package registers them all."""

from training.baselines.baseline import BASELINES, Baseline
from training.baselines.frequency_user_knn import FrequencyUserKnn
from training.baselines.item_knn import ItemKnn
from training.baselines.personal_frequency import PersonalFrequency
from training.baselines.popularity import Popularity
from training.baselines.sequence_rules import SequenceRules
from training.baselines.user_knn import UserKnn

__all__ = [
    "BASELINES",
    "Baseline",
    "FrequencyUserKnn",
    "ItemKnn",
    "PersonalFrequency",
    "Popularity",
    "SequenceRules",
    "UserKnn",
]
