"use strict";
// The overview: sorting, filtering, and one image at a time.
document.documentElement.classList.add("scripted");
document.addEventListener("DOMContentLoaded", () => {
  const overview = document.getElementById("overview");
  if (!overview) return;
  const [search, finding, status, shown] = ["search", "finding", "status", "shown"].map((id) => document.getElementById(id));
  const [pager, previous, next, place] = ["pager", "previous", "next", "place"].map((id) => document.getElementById(id));
  const table = document.getElementById("images");
  const body = table.tBodies[0];
  const order = new Intl.Collator(undefined, { numeric: true });
  const title = document.title;

  const rows = Array.from(body.rows, (row) => ({
    row,
    number: Number(row.cells[0].textContent),
    name: row.querySelector("bdi").textContent,
    link: row.querySelector("a"),
    failed: row.classList.contains("failed"),
    positive: Number(row.cells[3].dataset.value ?? -1),
    warnings: Number(row.cells[5]?.dataset.value ?? -1),
    probabilities: (row.dataset.p ?? "").trim().split(" ").map(Number),
    probability: -1,
  }));
  const names = Array.from(finding.options).slice(1).map((option) => option.textContent);

  function showProbabilities() {
    const chosen = finding.value;
    for (const image of rows) {
      if (image.failed) continue;
      const which = chosen === "" ? image.probabilities.indexOf(Math.max(...image.probabilities)) : Number(chosen);
      image.probability = image.probabilities[which];
      image.called = chosen === "" ? image.positive > 0 : image.probability >= Number(finding.selectedOptions[0].dataset.threshold);
      image.row.querySelector(".probability").textContent = (chosen === "" ? `${names[which]} ` : "") + image.probability.toFixed(3);
    }
    const heading = table.querySelector('[data-key="probability"]');
    heading.textContent = chosen === "" ? "Highest probability" : `Probability of ${names[Number(chosen)]}`;
  }

  function filter() {
    const wanted = search.value.toLowerCase();
    const kinds = {
      "": () => true,
      positive: (image) => !image.failed && image.called,
      negative: (image) => !image.failed && !image.called,
      warned: (image) => image.warnings > 0,
      failed: (image) => image.failed,
    };
    let count = 0;
    for (const image of rows) {
      image.row.hidden = !(image.name.toLowerCase().includes(wanted) && kinds[status.value](image));
      count += !image.row.hidden;
    }
    shown.textContent = `${count} of ${rows.length} images`;
  }

  function sort(key, direction) {
    const compare = key === "name" ? (a, b) => order.compare(a.name, b.name) : (a, b) => a[key] - b[key];
    rows.sort((a, b) => direction * compare(a, b) || a.number - b.number);
    body.append(...rows.map((image) => image.row));
    for (const button of table.querySelectorAll("[data-key]")) {
      const heading = button.closest("th");
      if (button.dataset.key === key) heading.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
      else heading.removeAttribute("aria-sort");
    }
  }

  function sortAgain() {
    const heading = table.querySelector("[aria-sort]");
    sort(heading.querySelector("button").dataset.key, heading.getAttribute("aria-sort") === "ascending" ? 1 : -1);
  }

  const visible = () => rows.filter((image) => image.link && !image.row.hidden).map((image) => image.link.hash);

  function open() {
    for (const image of document.querySelectorAll(".cxr-image.chosen")) {
      image.classList.remove("chosen");
      window.cxrEdge.forget(image);
    }
    const image = document.querySelector(`.cxr-image[id="${CSS.escape(location.hash.slice(1))}"]`);
    overview.hidden = Boolean(image);
    pager.hidden = !image;
    document.title = title;
    if (!image) return;
    image.classList.add("chosen");
    window.cxrEdge.draw(image);
    const heading = image.querySelector("h2");
    document.title = `${heading.textContent}: ${title}`;
    const hashes = visible();
    const at = hashes.indexOf(location.hash);
    place.textContent = at < 0 ? "" : `Image ${at + 1} of ${hashes.length}`;
    previous.disabled = at <= 0;
    next.disabled = at < 0 || at === hashes.length - 1;
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
    window.scrollTo(0, 0);
  }

  const step = (by) => { location.hash = visible()[visible().indexOf(location.hash) + by]; };
  previous.addEventListener("click", () => step(-1));
  next.addEventListener("click", () => step(1));
  let left = null;
  document.getElementById("back").addEventListener("click", () => { left = location.hash; });
  window.addEventListener("hashchange", () => {
    open();
    if (overview.hidden) return;
    rows.find((image) => image.link?.hash === left)?.link.focus();
    left = null;
  });

  table.tHead.addEventListener("click", ({ target }) => {
    const key = target.dataset.key;
    if (!key) return;
    const now = target.closest("th").getAttribute("aria-sort");
    const first = key === "number" || key === "name" ? 1 : -1;
    sort(key, now ? (now === "ascending" ? -1 : 1) : first);
  });
  const filters = document.getElementById("filters");
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("input", ({ target }) => {
    if (target === finding) { showProbabilities(); sortAgain(); }
    filter();
  });
  filters.addEventListener("reset", () => setTimeout(() => { showProbabilities(); sort("number", 1); filter(); }));

  document.getElementById("print-all")?.addEventListener("click", () => {
    const images = visible().map((hash) => document.getElementById(hash.slice(1)));
    document.body.classList.add("printing");
    for (const image of images) { image.classList.add("wanted"); window.cxrEdge.draw(image); }
    window.print();
    for (const image of images) { image.classList.remove("wanted"); window.cxrEdge.forget(image); }
    document.body.classList.remove("printing");
  });

  showProbabilities();
  filter();
  open();
});
