"""What the template of docs/science.md may ask of the numbers in docs/science/. What is not there is an error."""

import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from tools.science.collect import JOINED, RETENTION
from unike_lib.method import default_methods, method_of
from unike_lib.reporting.claims import OPEN, Claim, paper_claims, sign, verdict_of
from unike_lib.reporting.markdown import cell, markdown_table, rows_of
from unike_lib.reporting.paper_numbers import short_title
from unike_lib.reporting.table_text import METRIC_TITLES, TASK_TITLES
from unike_lib.types import PROBE_KINDS, TASKS, InputError

TITLES = {**METRIC_TITLES, "t_gen_far": "T-Gen. far", "joint": "joint", "mean": "mean of three aims"}
AIMED = ("rivals", "hundred")  # tables that the aims are about
BEHIND, JOINT = 3, {1: 80, 20: 75, 100: 65}  # the aims: points; percent by K
OURS = "-scope"  # in the names of methods that the paper has not
KEYS = ("table", "criterion", "backbone", "task", "k", "method", "first", "second", "split", "set", "layer")
LATER = {  # claims beyond those that `paper_claims` judges: what must lead what, by which column
    "UniKE is ahead of all others in cross-task sessions (4.4).": ("mixed", None, "mean"),
    "Both halves together are better than neurons or the latent shift alone (4.5, Table 4).": (
        *("parts", ("only-intrin", "only-latent-ike")),
        "mean",
    ),
    "Semantic and truthful collaboration adds to both halves (4.5, Table 4).": (
        "parts",
        ("intrin-latent-ike",),
        "mean",
    ),
}


class Numbers:
    """The numbers of a run, by table and row."""

    def __init__(self, folder: Path) -> None:
        self.run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        self.files = {path.stem: pd.read_csv(path) for path in sorted(folder.glob("*.csv"))}
        self.folder = folder

    def commits(self) -> str:
        """Say what made the tables: one commit, or each with its tables."""
        by_commit: dict[str, list[str]] = {}
        for table, made in self.run["tables"].items():
            by_commit.setdefault(made["commit"], []).append(table)
        if len(by_commit) == 1:
            return f"`{next(iter(by_commit))}`"
        return ", ".join(f"`{commit}` ({', '.join(tables)})" for commit, tables in by_commit.items())

    def seeds(self) -> str:
        """Say with how many seeds each table was run."""
        return ", ".join(f"{table} {made['seeds']}" for table, made in self.run["tables"].items())

    def has(self, table: str) -> bool:
        """Tell whether a table was run."""
        return bool((self.files["scores"]["table"] == table).any())

    def row(self, file: str, **wanted: Any) -> dict[str, Any]:
        """Return the one row of a file that has these values.

        Raises:
            InputError: none, or several.
        """
        rows = self.rows(file, **wanted)
        if len(rows) != 1:
            text = ", ".join(f"{name} {value}" for name, value in wanted.items())
            raise InputError(f"{self.folder / f'{file}.csv'}: {len(rows)} rows with {text}; expected one")
        return rows_of(rows)[0]

    def rows(self, file: str, **wanted: Any) -> pd.DataFrame:
        """Return the rows of a file that have these values; `criterion`, where a file has it, is token unless named."""
        rows = self.files[file]
        if "criterion" in rows:
            wanted = {"criterion": "token"} | wanted
        for name, value in wanted.items():
            if name not in rows or name not in KEYS:
                raise InputError(f"{self.folder / f'{file}.csv'}: no column {name}")
            rows = rows[rows[name] == value]
        return rows

    def value(self, file: str, column: str, signed: bool = False, bare: bool = False, **wanted: Any) -> str:
        """Return a number as text, with its interval where it has one and is not to be `bare`.

        Raises:
            InputError: no such row or column, or nothing in it.
        """
        row = self.row(file, **wanted)
        if pd.isna(row.get(column, float("nan"))):
            text = ", ".join(f"{name} {value}" for name, value in wanted.items())
            raise InputError(f"{self.folder / f'{file}.csv'}, {text}: nothing in column {column}")
        if f"{column}_low" in row and not bare:
            return cell(row, column, signed)
        return f"{row[column]:{'+' if signed else ''}.1f}"

    def score(self, column: str, **wanted: Any) -> str:
        """Return a score of a table's cell."""
        return self.value("scores", column, **wanted)

    def lead(self, first: str, second: str, column: str = "mean", **wanted: Any) -> str:
        """Return what a method leads another by, in points."""
        return self.value("leads", column, signed=True, first=first, second=second, **wanted)

    def sign(self, first: str, second: str, column: str = "mean", **wanted: Any) -> int:
        """Return 1 or -1 where a lead's interval lies above or below zero, else 0."""
        return sign(self.row("leads", first=first, second=second, **wanted), column)

    def passed(self, backbone: str) -> str:
        """Say on which tasks a backbone passed the positive control, by UniKE's rows."""
        rows = self.rows("scores", table="rivals", backbone=backbone, method="unike")
        tasks = dict.fromkeys(rows.loc[rows["control_passed"], "task"])
        return " and ".join(TASK_TITLES[task] for task in tasks) or "neither task"

    def edits(self, backbone: str, table: str = "rivals") -> str:
        """Say how many edits a backbone has by task."""
        rows = self.rows("scores", table=table, backbone=backbone, method="unike").drop_duplicates("task")
        return " and ".join(f"{row['edits']} ({TASK_TITLES[row['task']]})" for row in rows_of(rows))

    def methods(self, table: str) -> list[str]:
        """Return a table's editing methods, in its order."""
        return [name for name in dict.fromkeys(self.rows("scores", table=table)["method"]) if name != "base"]

    def cells(self, table: str) -> list[dict[str, Any]]:
        """Return table, backbone, task and K of a table's cells, as words for `row`."""
        return rows_of(self.rows("scores", table=table)[["table", "backbone", "task", "k"]].drop_duplicates())

    def main_cells(self) -> list[dict[str, Any]]:
        """Return the cells that the aims are about; one that several tables have is the one with the most edits."""
        cells: dict[tuple[Any, ...], dict[str, Any]] = {}
        for found in [each for name in AIMED if self.has(name) for each in self.cells(name)]:
            key = tuple(found[name] for name in ("backbone", "k", "task"))
            if key not in cells or self.count(**found) > self.count(**cells[key]):
                cells[key] = found
        order = [*dict.fromkeys(key[0] for key in cells)]
        return [cells[key] for key in sorted(cells, key=lambda key: (order.index(key[0]), key[1]))]

    def count(self, **cell: Any) -> int:
        """Return how many edits a cell has."""
        return int(self.row("scores", method="unike-scope", **cell)["edits"])

    def rivals(self, **cell: Any) -> list[dict[str, Any]]:
        """Return the leads of unike-scope over every other method in a cell, of any table that it was compared in."""
        wanted = {name: value for name, value in cell.items() if name != "table"}
        rows = self.rows("leads", first="unike-scope", **wanted)
        rows = rows[rows["table"].isin([cell["table"], *(name for name in JOINED if JOINED[name] == cell["table"])])]
        return rows_of(rows[~rows["second"].str.contains(OURS, regex=False)].drop_duplicates("second"))

    def best_rival(self, **cell: Any) -> dict[str, Any]:
        """Return the lead over the method that comes nearest by the mean of the three aims.

        Raises:
            InputError: there is none.
        """
        rows = self.rivals(**cell)
        if not rows:
            raise InputError(f"{self.folder / 'leads.csv'}: no lead of unike-scope in {cell}")
        return min(rows, key=lambda row: row["mean"])

    def least(self, **cell: Any) -> int:
        """Return 1 where unike-scope is clearly ahead of every rival in a cell by the mean, -1 clearly behind one."""
        return min(sign(row, "mean") for row in [self.best_rival(**cell), *self.rivals(**cell)])

    def behind(self, row: dict[str, Any]) -> str:
        """Say in which metrics a lead is clearly negative; nothing where it is in none."""
        below = [f"{TITLES[name]} {cell(row, name, signed=True)}" for name in PROBE_KINDS if sign(row, name) < 0]
        return f"{short_title(row['second'])} in {', '.join(below)}" if below else ""

    def aims(self, backbone: str) -> list[tuple[str, bool]]:
        """Return the project's aims for unike-scope in words, with its numbers, and whether each is met."""
        cells = [each for each in self.main_cells() if each["backbone"] == backbone]
        nearest = [self.best_rival(**each) for each in cells]
        least = [sign(row, "mean") > 0 for row in nearest]
        counted = f"{sum(least)} of {len(least)} cells"
        if single := sum(bool(pd.isna(row["mean_low"])) for row in nearest):
            counted += f"; {single} without an interval, a single session each"
        found = [(f"clearly ahead of every rival by the mean, at every K ({counted})", all(least))]
        ones = [row for each in cells if each["k"] == 1 for row in self.rivals(**each)]
        lowest = min(row[name] for row in ones for name in PROBE_KINDS)
        text = f"no column more than {BEHIND:g} points under the best rival's at K = 1 (lowest {lowest:+.1f})"
        found.append((text, lowest >= -BEHIND))
        for k, wanted in JOINT.items():
            rows = [self.row("edits", method="unike-scope", **each) for each in cells if each["k"] == k]
            if rows:
                texts = ", ".join(f"{TASK_TITLES[row['task']]} {cell(row, 'joint')}" for row in rows)
                text = f"joint success of at least {wanted:g}% at K = {k}: {texts}"
                found.append((text, all(row["joint"] >= wanted for row in rows)))
        return found

    def main_table(self, backbone: str, ks: Sequence[int], columns: Sequence[str]) -> str:
        """Return a Markdown table: a row per task, K (where it was run) and method; joint has an interval."""
        header = ["task, K", "method", *(TITLES[name] for name in columns), "T- / M-Loc. by `mmedit`", "joint success"]
        lines = []
        cells = [each for each in self.main_cells() if each["backbone"] == backbone and each["k"] in ks]
        for cell_ in sorted(cells, key=lambda each: TASKS.index(each["task"])):
            for method in self.methods(cell_["table"]):
                wanted = {**cell_, "method": method}
                other = self.row("scores", criterion="mmedit", **wanted)
                numbers = [self.value("scores", name, bare=True, **wanted) for name in columns]
                numbers += [f"{other['t_loc']:.1f} / {other['m_loc']:.1f}", self.value("edits", "joint", **wanted)]
                lines.append([f"{TASK_TITLES[cell_['task']]}, {cell_['k']}", self.title(method), *numbers])
        return markdown_table(header, lines)

    def ahead_table(self, columns: Sequence[str]) -> str:
        """Return a Markdown table: in each main cell, the lead of unike-scope over the rival that comes nearest."""
        header = ["cell", "edits", "nearest rival", *(TITLES[name] for name in columns), "mean, seed by seed"]
        lines = []
        for cell_ in self.main_cells():
            row = self.best_rival(**cell_)
            seeds = f"{row['seed_lowest']:+.1f} to {row['seed_highest']:+.1f} ({row['seeds']})"
            numbers = [cell(row, name, signed=True) for name in columns]
            lines.append([self.place(cell_), str(self.count(**cell_)), short_title(row["second"]), *numbers, seeds])
        return markdown_table(header, lines)

    def behind_table(self, table: str, backbone: str, ks: Sequence[int], columns: Sequence[str]) -> str:
        """Return a Markdown table: each method behind the scope minus the method as it is."""
        lines = []
        for task, k in product(TASKS, ks):
            for method in [name for name in self.methods(table) if OURS not in name]:
                place = {"table": table, "backbone": backbone, "task": task, "k": k}
                row = self.row("leads", first=f"{method}{OURS}", second=method, **place)
                numbers = [cell(row, name, signed=True) for name in columns]
                lines.append([f"{TASK_TITLES[task]}, {k}", short_title(method), *numbers])
        return markdown_table(["task, K", "the scope adds to", *(TITLES[name] for name in columns)], lines)

    def ablation_table(self, table: str, columns: Sequence[str]) -> str:
        """Return a Markdown table: each variant of unike-scope minus unike-scope, both tasks side by side."""
        tasks = dict.fromkeys(self.rows("leads", table=table)["task"])
        lines = []
        for name in [name for name in self.methods(table) if name != "unike-scope"]:
            rows = [self.row("leads", table=table, first="unike-scope", second=name, task=task) for task in tasks]
            numbers = [cell(turned(row, column), column, signed=True) for row in rows for column in columns]
            lines.append([name.removeprefix("unike-scope-"), *numbers])
        titles = [f"{TASK_TITLES[task]} {TITLES[column]}" for task in tasks for column in columns]
        return markdown_table(["variant minus unike-scope", *titles], lines)

    def retention_table(self, backbone: str, ks: Sequence[int]) -> str:
        """Return a Markdown table: a row per method and number of edits, a column per set of questions."""
        rows = self.rows("retention", backbone=backbone)
        lines = []
        for method, k in product(dict.fromkeys(rows["method"]), ks):
            place = {"backbone": backbone, "method": method, "k": k}
            numbers = [self.value("retention", column, set=name, **place) for name, column in RETENTION.items()]
            after = self.value("retention", "right_after", bare=True, set="edits", **place)
            lines.append([self.title(method), str(k), *numbers, after])
        titles = ["taught facts as before", "general questions as before", "own edits right", "right after each edit"]
        return markdown_table(["method", "edits", *titles], lines)

    def place(self, row: dict[str, Any]) -> str:
        """Return the words for a cell."""
        return f"{row['backbone']}, {TASK_TITLES[row['task']]}, K = {row['k']}"

    def title(self, method: str) -> str:
        """Return a method's name on the page."""
        return f"**{method}**" if method == "unike-scope" else short_title(method) if OURS not in method else method

    def tally(self, cells: Sequence[Mapping[str, Any]], first: str, second: str, criterion: str = "token") -> str:
        """Say in how many cells a method is clearly ahead of another by the mean, clearly behind, and undecided."""
        signs = [self.sign(first, second, criterion=criterion, **cell) for cell in cells]
        text = f"clearly ahead in {signs.count(1)} of {len(signs)} cells"
        text += f", clearly behind in {signs.count(-1)}" if -1 in signs else ", clearly behind in none"
        return text + f", not decided in {signs.count(0)}" * (0 in signs)

    def layers(self, backbone: str, task: str, name: str) -> dict[str, Any]:
        """Return rows of a set of evaluation questions: at the first and last edited, the chosen and the last layer."""
        rows = self.rows("scope", backbone=backbone, task=task, split="eval", set=name).sort_values("layer")
        edited = rows[rows["edited"]]
        if edited.empty or not rows["chosen"].any():
            raise InputError(
                f"{self.folder / 'scope.csv'}: no layers of {backbone}, {task}, {name} on evaluation edits"
            )
        picked = {"first": edited.iloc[0], "edited": edited.iloc[-1]}
        picked |= {"chosen": rows[rows["chosen"]].iloc[0], "last": rows.iloc[-1]}
        return {name: row.to_dict() for name, row in picked.items()}

    def scope_table(self, backbones: Sequence[str], sets: Sequence[str], titles: Sequence[str]) -> str:
        """Return a Markdown table of AUC by place of the layer."""
        lines = []
        for backbone in backbones:
            for task in dict.fromkeys(self.rows("scope", backbone=backbone)["task"]):
                found = [self.layers(backbone, task, name) for name in sets]
                for place, words in (("first", "first edited"), ("edited", "last edited"), ("chosen", "**chosen**")):
                    layer = found[0][place]["layer"]
                    numbers = [
                        f"{each[place]['auc']:.2f} / {100 * each[place]['nearest_is_own']:.0f}%" for each in found
                    ]
                    lines.append([f"{backbone}, {TASK_TITLES[task]}", f"{layer} ({words})", *numbers])
        return markdown_table(["", "layer", *titles], lines)

    def claims(self, criterion: str = "token") -> list[Claim]:
        """Return the paper's claims, judged as the report judges them; methods of ours are no rivals in them."""
        tables = [self.paper_rows("scores", name, criterion) for name in ("rivals", "trained", "in-context")]
        leads = [self.paper_rows("leads", name, criterion) for name in ("rivals", "trained", "in-context")]
        table, compared = pd.concat(tables), pd.concat(leads)
        kinds = {name: method_of(default_methods(), name).kind for name in dict.fromkeys(table["method"])}
        judged = paper_claims([table], [compared[compared["first"] == "unike"]], kinds)
        return [*judged, *(self.later(text, criterion) for text in LATER)]

    def paper_rows(self, file: str, table: str, criterion: str) -> pd.DataFrame:
        """Return a table's rows of the paper's methods."""
        rows = self.rows(file, table=table, criterion=criterion)
        names = rows["method"] if file == "scores" else rows["second"]
        return rows[~names.str.contains(OURS, regex=False)]

    def later(self, text: str, criterion: str) -> Claim:
        """Judge a claim of `LATER`: held in a cell where UniKE leads all that it must."""
        table, seconds, column = LATER[text]
        rows = (
            self.paper_rows("leads", table, criterion) if self.has(table) else pd.DataFrame(columns=["first", "second"])
        )
        rows = rows[rows["first"] == "unike"]
        rows = rows if seconds is None else rows[rows["second"].isin(seconds)]
        held, evidence = [], []
        for _, part in rows.groupby(["backbone", "task", "k"], sort=False) if len(rows) else ():
            of_cell = rows_of(part)
            held.append(min(sign(row, column) for row in of_cell))
            listed = ", ".join(f"{short_title(row['second'])} {cell(row, column, signed=True)}" for row in of_cell)
            evidence.append(f"{self.place(of_cell[0])}: {TITLES[column]}, UniKE minus {listed}.")
        return Claim(text, verdict_of(held) if held else OPEN, tuple(evidence))

    def claims_table(self) -> str:
        """Return the claims as a Markdown table: verdicts by both families of metrics."""
        both = zip(self.claims("token"), self.claims("mmedit"), strict=True)
        return markdown_table(
            ["the paper's claim (its section)", "by `token`", "by `mmedit`"],
            [[token.text, token.verdict, mmedit.verdict] for token, mmedit in both],
        )


def turned(row: dict[str, Any], column: str) -> dict[str, float]:
    """Return a lead the other way round."""
    return {column: -row[column], f"{column}_low": -row[f"{column}_high"], f"{column}_high": -row[f"{column}_low"]}
