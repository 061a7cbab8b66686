"""What the language model does is seen by taking it away: the tuning undone, the weights zeroed, the texts shuffled.

Each effect is a gain of the run's own network over such another, both ranking the trained items alone: only the served
network has its untrained items placed, which is no doing of the language model's tuning. Both sides stand in a run's
per-user table, so that whoever reads a report can have the gain computed anew.
"""

from collections.abc import Iterable, Mapping

KNOWN = "known"  # the run's own network, ranking trained items alone
LANGUAGE_EFFECTS: Mapping[str, str] = {
    "text_vs_shuffled": "shuffled",
    "tuned_vs_zeroed": "zeroed",
    "lora_vs_frozen": "frozen",
}
RIVAL = "rival"  # another run, as it stands on this one's build: the champion, or what training went on from
BESIDE = "beside"  # this run on the questions that the rival was asked
SIDES = frozenset({KNOWN, "shuffled", "zeroed", RIVAL, BESIDE})  # of an effect, and no component of anything


def component_names(columns: Iterable[str]) -> list[str]:
    """The components that a per-user table has figures of, from its columns `<component>:<metric>`, in their order."""
    named = dict.fromkeys(column.partition(":")[0] for column in columns if ":" in column)
    return [name for name in named if name not in SIDES]
