"""Fields of a record that are checked as they are taken, where it is more than a text per key (`dialect.Table`)."""

from typing import Any

from unike_lib.benchmark.dialect import is_text, shown
from unike_lib.characters import control_in, without_controls


class Fields:
    """Takes values out of a record, and notes what is not as expected; `place` says where it stands."""

    def __init__(self, place: str, record: Any, problems: list[str]) -> None:
        self.place, self.record, self.problems = place, record if isinstance(record, dict) else {}, problems

    def text(self, key: str) -> str:
        """Return a text, trimmed; "-" where there is none."""
        good = is_text(self.record.get(key))
        return self.record[key].strip() if good else self._noted(key, without_controls(self.record.get(key)), "-")

    def texts(self, key: str, least: int = 1) -> tuple[str, ...]:
        """Return the different texts of a list, trimmed, blank ones left out; some "-" where there are too few."""
        values = self.record.get(key)
        if not isinstance(values, list) or not all(isinstance(each, str) and not control_in(each) for each in values):
            return self._noted(key, without_controls(values, "a list of texts"), ("-",) * least)
        found = tuple(dict.fromkeys(each.strip() for each in values if is_text(each)))
        return found if len(found) >= least else self._noted(key, f"{least} or more texts", ("-",) * least)

    def inside(self, key: str) -> "Fields":
        """Return the fields of the first record in an object."""
        values = self.record.get(key)
        if isinstance(values, dict) and values:
            first = next(iter(values.values()))
        else:
            first = self._noted(key, "an object that is not empty", {})
        return Fields(f"{self.place}: field '{key}'", first, self.problems)

    def _noted(self, key: str, expected: str, instead: Any) -> Any:
        self.problems.append(f"{self.place}: field '{key}': expected {expected}, found {shown(self.record, key)}")
        return instead
