// A click on a column's title sorts its table: numbers from the largest, texts from A; a second click turns it round.
for (const table of document.querySelectorAll("table.sorts")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const text = (rows) => rows[0].cells[column].firstChild?.nodeValue?.trim() ?? "";
      const missing = (rows) => ["", "-"].includes(text(rows));
      // A row of the paper's numbers stays below ours.
      const groups = [];
      for (const row of table.tBodies[0].rows) row.className === "paper" ? groups.at(-1).push(row) : groups.push([row]);
      const numbers = groups.every((rows) => missing(rows) || !isNaN(text(rows)));
      const order = head.ariaSort ? (head.ariaSort === "ascending" ? -1 : 1) : numbers ? -1 : 1;
      groups.sort((a, b) =>
        missing(a) || missing(b) ? missing(a) - missing(b)
          : order * (numbers ? text(a) - text(b) : text(a).localeCompare(text(b), "en")));
      for (const other of heads) other.ariaSort = null;
      head.ariaSort = order === 1 ? "ascending" : "descending";
      table.tBodies[0].append(...groups.flat());
    });
  });
}
