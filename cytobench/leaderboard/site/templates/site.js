(() => {
  /* Every table of class "sortable" gets buttons in its headings. Missing values stay last in both directions. */
  const valueOf = (row, at, table) => {
    const cell = row.cells[at], mode = table.dataset.show || "score";
    if (!cell || cell.classList.contains("none")) return null;
    if (cell.dataset[mode] !== undefined) return cell.dataset[mode] === "" ? null : Number(cell.dataset[mode]);
    if (cell.dataset.value !== undefined) return cell.dataset.value === "" ? null : Number(cell.dataset.value);
    return cell.textContent.trim();
  };
  const asNumber = (text) => {
    if (text === null || typeof text === "number") return text;
    const found = parseFloat(text.replace(/,/g, "").replace("−", "-"));
    return Number.isNaN(found) ? null : found;
  };
  const sort = (table, head, at, direction) => {
    const numeric = head.dataset.sort === "number", sign = direction === "ascending" ? 1 : -1;
    const keyed = [...table.tBodies[0].rows].map((row) => {
      const value = valueOf(row, at, table);
      return [numeric ? asNumber(value) : value, row];
    });
    keyed.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * (numeric ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true }));
    });
    table.tBodies[0].append(...keyed.map(([, row]) => row));
    table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", direction);
    tell(`Sorted by ${head.dataset.says || head.textContent.trim()}, ${direction}.`);
  };
  const said = document.createElement("p");
  said.className = "unseen";
  said.setAttribute("role", "status");
  document.body.append(said);
  const tell = (text) => { said.textContent = text; };
  const preferred = (table, head) => {
    if (head.dataset.first) return head.dataset.first;
    if (head.dataset.sort !== "number") return "ascending";
    return table.dataset.show === "rank" ? "ascending" : "descending";
  };
  document.querySelectorAll("table.sortable").forEach((table) => {
    table.querySelectorAll("thead th[data-sort]").forEach((head) => {
      const at = Number(head.dataset.at ?? head.cellIndex), button = document.createElement("button");
      button.type = "button";
      const words = document.createElement("span");
      words.append(...head.childNodes);
      button.append(words);
      head.append(button);
      button.addEventListener("click", () => {
        const now = head.getAttribute("aria-sort"), first = preferred(table, head);
        const other = first === "ascending" ? "descending" : "ascending";
        sort(table, head, at, now === first ? other : first);
      });
    });
  });

  /* The large table: which columns and which lines are shown. */
  const form = document.getElementById("filters"), board = document.getElementById("board");
  if (!form || !board) return;
  form.hidden = false;
  const wanted = (name) => form.elements[name];
  const heads = [...board.querySelectorAll("thead th[data-probe]")];
  const showColumns = () => {
    const probe = wanted("probe").value, tuning = wanted("tuning").value, task = wanted("task").value;
    const counts = {};
    heads.forEach((head) => {
      const d = head.dataset;
      const fits = (probe === "" || (probe === "main" ? d.main === "yes" : d.probe === probe))
        && (tuning === "" || d.tuned === tuning) && (task === "" || d.task === task);
      head.hidden = !fits;
      for (const row of board.tBodies[0].rows) row.cells[Number(d.at)].hidden = !fits;
      counts[d.task] = (counts[d.task] || 0) + (fits ? 1 : 0);
    });
    board.querySelectorAll("thead th[data-group]").forEach((head) => {
      head.hidden = !counts[head.dataset.group];
      head.colSpan = Math.max(1, counts[head.dataset.group] || 0);
    });
    return heads.filter((head) => !head.hidden).length;
  };
  const showRows = () => {
    const words = wanted("text").value.toLowerCase().split(/\s+/).filter(Boolean), domain = wanted("domain").value;
    let shown = 0;
    for (const row of board.tBodies[0].rows) {
      const d = row.dataset;
      row.hidden = !(words.every((word) => d.text.includes(word)) && (domain === "" || d.domain === domain)
        && !(wanted("nonulls").checked && d.null === "yes") && !(wanted("scored").checked && d.scored === "no"));
      shown += row.hidden ? 0 : 1;
    }
    return shown;
  };
  const update = () => {
    board.dataset.show = wanted("show").value;
    const chosen = ["probe", "tuning", "task"].some((name) => wanted(name).selectedIndex > 0);
    board.dataset.paper = chosen ? "all" : "main";
    const columns = showColumns(), rows = showRows();
    const text = `${rows} of ${board.tBodies[0].rows.length} backbones, ${columns} of ${heads.length} columns shown`;
    document.getElementById("count").textContent = text;
  };
  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(update));
  update();
})();
