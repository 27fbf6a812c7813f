"use strict";
// Draws the heat maps of films as cxr_edge.gradcam does: bicubic, scaled to the maximum, colour over grey.
(() => {
  const COLOURS = {{ colours | tojson }};
  const LARGEST = 512;  // of the drawing, which the page enlarges: a map is smooth
  const CUBIC = -0.75;  // OpenCV's coefficient

  const bytes = (text) => Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  const colours = Object.fromEntries(Object.entries(COLOURS).map(([name, text]) => [name, bytes(text)]));
  const pair = (text) => text.split("x").map(Number);
  const find = (film, name) => film.querySelector(`.cxr-${name}`);

  function weights(from, to) {
    return Array.from({ length: to }, (_, place) => {
      const position = ((place + 0.5) * from) / to - 0.5;
      const first = Math.floor(position);
      const t = position - first;
      const near = (x) => ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1;
      const far = (x) => ((CUBIC * x - 5 * CUBIC) * x + 8 * CUBIC) * x - 4 * CUBIC;
      const cells = [-1, 0, 1, 2].map((step) => Math.min(from - 1, Math.max(0, first + step)));
      return { cells, parts: [far(t + 1), near(t), near(1 - t), far(2 - t)] };
    });
  }

  function enlarge(map, rows, columns, height, width) {
    const across = weights(columns, width);
    const down = weights(rows, height);
    const wide = new Float32Array(rows * width);
    for (let y = 0; y < rows; y++) {
      for (let x = 0; x < width; x++) {
        const { cells, parts } = across[x];
        for (let k = 0; k < 4; k++) wide[y * width + x] += parts[k] * map[y * columns + cells[k]];
      }
    }
    const whole = new Float32Array(height * width);
    let strongest = 0;
    for (let y = 0; y < height; y++) {
      const { cells, parts } = down[y];
      for (let x = 0; x < width; x++) {
        let value = 0;
        for (let k = 0; k < 4; k++) value += parts[k] * wide[cells[k] * width + x];
        whole[y * width + x] = value;
        if (value > strongest) strongest = value;
      }
    }
    return { whole, strongest };
  }

  function paint(canvas, map, rows, columns, height, width, colour) {
    canvas.height = height;
    canvas.width = width;
    const { whole, strongest } = enlarge(map, rows, columns, height, width);
    if (strongest === 0) return;
    const context = canvas.getContext("2d");
    const picture = context.createImageData(width, height);
    for (let at = 0; at < whole.length; at++) {
      const level = Math.min(255, Math.max(0, Math.round((255 * whole[at]) / strongest)));
      picture.data.set([colour[3 * level], colour[3 * level + 1], colour[3 * level + 2], level], 4 * at);
    }
    context.putImageData(picture, 0, 0);
  }

  function whereabouts(map, rows, columns) {
    const at = map.indexOf(Math.max(...map));
    const third = (place, length, names) => names[Math.min(2, Math.floor((3 * (place + 0.5)) / length))];
    const vertical = third(Math.floor(at / columns), rows, ["upper", "middle", "lower"]);
    const horizontal = third(at % columns, columns, ["left", "middle", "right"]);
    return vertical === horizontal ? "the middle" : `the ${vertical} ${horizontal}`;
  }

  function show(film) {
    const chosen = film.querySelector('.cxr-label[aria-pressed="true"]');
    const canvas = find(film, "map");
    const colour = colours[find(film, "colormap").value];
    canvas.hidden = !chosen;
    find(film, "none").setAttribute("aria-pressed", String(!chosen));
    paintScale(find(film, "colours"), colour);
    canvas.style.opacity = find(film, "fade").value / 100;
    let caption = "The film alone. A label's button shows its heat map.";
    if (chosen) {
      const [rows, columns] = pair(film.dataset.grid);
      const [height, width] = pair(film.dataset.size);
      const scale = Math.min(1, LARGEST / Math.max(height, width));
      const map = bytes(film.dataset.maps).subarray(rows * columns * chosen.dataset.map).subarray(0, rows * columns);
      const drawn = [height, width].map((side) => Math.max(1, Math.round(side * scale)));
      paint(canvas, map, rows, columns, ...drawn, colour);
      const cells = chosen.closest("tr").cells;
      const call = [cells[1].textContent, cells[2].textContent].filter(Boolean).join(", ");
      caption = map.some((level) => level > 0)
        ? `Heat map of ${chosen.textContent} (${call}): strongest in ${whereabouts(map, rows, columns)} of the picture.`
        : `Nothing in this film supports ${chosen.textContent} (${call}): its heat map is empty.`;
    }
    canvas.setAttribute("aria-label", caption);
    if (find(film, "caption").textContent !== caption) find(film, "caption").textContent = caption;
  }

  function paintScale(canvas, colour) {
    const context = canvas.getContext("2d");
    const picture = context.createImageData(256, 1);
    for (let level = 0; level < 256; level++) picture.data.set([...colour.subarray(3 * level, 3 * level + 3), 255], 4 * level);
    context.putImageData(picture, 0, 0);
  }

  function choose(film, label) {
    for (const button of film.querySelectorAll(".cxr-label")) button.setAttribute("aria-pressed", String(button === label));
    show(film);
  }

  // A film is drawn when it is first seen: a report may hold a thousand.
  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      seen.unobserve(target);
      choose(target, target.querySelector(".cxr-positive .cxr-label"));
    }
  });

  document.addEventListener("click", ({ target }) => {
    const film = target.closest?.(".cxr-film");
    if (film && target.matches(".cxr-label")) choose(film, target.getAttribute("aria-pressed") === "true" ? null : target);
    if (film && target.matches(".cxr-none")) choose(film, null);
  });
  document.addEventListener("input", ({ target }) => {
    const film = target.closest?.(".cxr-film");
    if (film && target.matches(".cxr-fade, .cxr-colormap")) show(film);
  });
  // On paper nothing can be unfolded.
  const fold = (open) => () => { for (const part of document.querySelectorAll(".cxr-film details")) part.open = open; };
  window.addEventListener("beforeprint", fold(true));
  window.addEventListener("afterprint", fold(false));

  const watch = (node) => {
    if (node.nodeType !== Node.ELEMENT_NODE) return;
    if (node.matches(".cxr-film")) seen.observe(node);
    else for (const film of node.querySelectorAll(".cxr-film")) seen.observe(film);
  };
  const start = () => {
    watch(document.body);
    new MutationObserver((changes) => {
      for (const { addedNodes } of changes) addedNodes.forEach(watch);
    }).observe(document.body, { childList: true, subtree: true });
  };
  if (document.body) start();
  else document.addEventListener("DOMContentLoaded", start);

  window.cxrEdge = { draw: (film) => choose(film, film.querySelector('.cxr-label[aria-pressed="true"], .cxr-positive .cxr-label')) };
})();
