"""Settings of the model, its regularization, data, training and sampling, under the same names everywhere.

`model.hidden_size` means the same on the command line (`--set model.hidden_size=512`), in a TOML preset and in a run's
`config.json`. Settings are frozen and documented where they are declared, with their units. They are validated
together: all problems are reported at once, and an unknown name comes with suggestions.
"""

from unrolled.config.listing import sampling_range as sampling_range
from unrolled.config.listing import setting_descriptions as setting_descriptions
from unrolled.config.listing import setting_names as setting_names
from unrolled.config.messages import MAX_PROBLEMS as MAX_PROBLEMS
from unrolled.config.messages import suggestion as suggestion
from unrolled.config.messages import unknown_name as unknown_name
from unrolled.config.messages import validation_problems as validation_problems
from unrolled.config.overrides import RENAMED_SETTINGS as RENAMED_SETTINGS
from unrolled.config.overrides import by_current_names as by_current_names
from unrolled.config.overrides import note_on_moved as note_on_moved
from unrolled.config.presets import preset_names as preset_names
from unrolled.config.presets import preset_values as preset_values
from unrolled.config.presets import tomllib as tomllib
from unrolled.config.sections import DataSettings as DataSettings
from unrolled.config.sections import ModelSettings as ModelSettings
from unrolled.config.sections import Precision as Precision
from unrolled.config.sections import RegularizationSettings as RegularizationSettings
from unrolled.config.sections import SamplingSettings as SamplingSettings
from unrolled.config.sections import Settings as Settings
from unrolled.config.sections import TrainingSettings as TrainingSettings
from unrolled.config.validation import make_settings as make_settings
from unrolled.config.validation import sampling_settings as sampling_settings
from unrolled.config.validation import settings_from_values as settings_from_values
