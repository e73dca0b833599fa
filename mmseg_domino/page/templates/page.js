"use strict";
// Without scripts the page still shows everything; these add sorting, choosing and sliding.

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const value = (row, column) => {
    const text = row.cells[column].textContent.trim();
    const number = parseFloat(text);
    return Number.isNaN(number) ? text.toLowerCase() : number;
  };
  heads.forEach((head, column) => {
    head.firstElementChild.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") !== "descending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].sort((a, b) => {
        const x = value(a, column), y = value(b, column);
        // Numbers before words, so that what is missing stays at the end either way.
        if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1;
        const order = typeof x === "number" ? x - y : x.localeCompare(y);
        return down ? -order : order;
      });
      rows.forEach((row) => { row.classList.remove("rule"); body.append(row); });
    });
  });
}

for (const choice of document.querySelectorAll(".choice")) {
  const label = choice.querySelector("label");
  const select = label.querySelector("select");
  const options = [...choice.querySelectorAll(".option")];
  const update = () => options.forEach((o) => { o.hidden = o.dataset.key !== select.value; });
  label.hidden = options.length < 2;
  select.addEventListener("change", update);
  update();
}

for (const hint of document.querySelectorAll("span.screen")) hint.hidden = false;

for (const example of document.querySelectorAll("[data-over]")) {
  const stage = example.querySelector(".stage");
  const range = example.querySelector("input[type=range]");
  const buttons = [...example.querySelectorAll(".strip button")];
  const source = (name) => buttons.find((b) => b.dataset.name === name).querySelector("img").src;
  const show = (name) => {
    stage.querySelector(".over").src = source(name);
    buttons.forEach((b) => b.setAttribute("aria-pressed", String(b.dataset.name === name)));
  };
  const cut = () => stage.style.setProperty("--cut", `${range.value}%`);
  // The pictures are in the page once, in the strip; the stage borrows them.
  stage.querySelector(".base").src = source(buttons[0].dataset.name);
  show(example.dataset.over);
  buttons.forEach((b) => b.addEventListener("click", () => show(b.dataset.name)));
  range.addEventListener("input", cut);
  const drag = (event) => {
    const box = stage.getBoundingClientRect();
    range.value = Math.round(100 * (event.clientX - box.left) / box.width);
    cut();
  };
  stage.addEventListener("pointerdown", drag);
  stage.addEventListener("pointermove", (event) => { if (event.buttons) drag(event); });
  stage.hidden = range.hidden = false;
  cut();
}

for (const map of document.querySelectorAll(".map")) {
  const tip = map.querySelector(".tip");
  const show = (dot) => {
    tip.replaceChildren();
    if (dot.dataset.picture) {
      const picture = new Image();
      picture.src = dot.dataset.picture;
      tip.append(picture);
    }
    const text = document.createElement("b");
    text.textContent = dot.dataset.text;
    tip.append(text, document.createElement("br"), dot.dataset.key);
    tip.hidden = false;
    const at = dot.getBoundingClientRect(), box = map.getBoundingClientRect();
    const left = Math.min(at.left - box.left + 14, box.width - tip.offsetWidth - 4);
    tip.style.left = `${Math.max(left, 0)}px`;
    tip.style.top = `${Math.min(at.top - box.top + 14, box.height - tip.offsetHeight - 4)}px`;
  };
  for (const event of ["mouseover", "focusin"]) {
    map.addEventListener(event, (e) => { if (e.target.dataset.key) show(e.target); });
  }
  for (const event of ["mouseout", "focusout"]) {
    map.addEventListener(event, () => { tip.hidden = true; });
  }
}

// Print what is folded away, except configs, which run to many pages.
addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach((d) => { if (!d.querySelector("pre")) d.open = true; });
});
