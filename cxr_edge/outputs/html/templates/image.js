"use strict";
// Draws the heat maps of images as cxr_edge.model.heatmaps does: bicubic, scaled to the maximum, colour over grey.
(() => {
  const COLOURS = {{ colours | tojson }};
  const LARGEST = 512;  // side of the drawing, in pixels; the page enlarges it, and maps are smooth
  const CUBIC = -0.75;  // OpenCV's coefficient
  const WEAK = {{ weak }};  // share of the opacity for a label that is not positive

  const bytes = (text) => Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  const colours = Object.fromEntries(Object.entries(COLOURS).map(([name, text]) => [name, bytes(text)]));
  const pair = (text) => text.split("x").map(Number);
  const find = (image, name) => image.querySelector(`.cxr-${name}`);

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
    let strongest = 0, peak = 0;
    for (let y = 0; y < height; y++) {
      const { cells, parts } = down[y];
      for (let x = 0; x < width; x++) {
        let value = 0;
        for (let k = 0; k < 4; k++) value += parts[k] * wide[cells[k] * width + x];
        whole[y * width + x] = value;
        if (value > strongest) [strongest, peak] = [value, y * width + x];
      }
    }
    const percent = (place, length) => Math.round((100 * (place + 0.5)) / length);
    return { whole, strongest, left: percent(peak % width, width), top: percent(Math.floor(peak / width), height) };
  }

  function paint(canvas, map, rows, columns, height, width, { colour, strength }) {
    canvas.height = height;
    canvas.width = width;
    const { whole, strongest, left, top } = enlarge(map, rows, columns, height, width);
    if (strongest === 0) return null;
    const context = canvas.getContext("2d");
    const picture = context.createImageData(width, height);
    for (let at = 0; at < whole.length; at++) {
      const level = Math.min(255, Math.max(0, Math.round((255 * whole[at]) / strongest)));
      for (let channel = 0; channel < 3; channel++) picture.data[4 * at + channel] = colour[3 * level + channel];
      picture.data[4 * at + 3] = Math.round(strength * level);
    }
    context.putImageData(picture, 0, 0);
    return { left, top };
  }

  const isWeak = (label) => label !== null && !label.closest("tr").matches(".cxr-positive");
  const fade = (image) => { find(image, "map").style.opacity = find(image, "fade").value / 100; };

  function show(image) {
    const chosen = image.querySelector('.cxr-label[aria-pressed="true"]');
    const canvas = find(image, "map");
    const colour = colours[find(image, "colormap").value];
    canvas.hidden = !chosen;
    find(image, "none").setAttribute("aria-pressed", String(!chosen));
    paintScale(find(image, "colours"), colour);
    fade(image);
    let caption = "The image alone. Press a label to show its heat map.";
    if (chosen) {
      const [rows, columns] = pair(image.dataset.grid);
      const [height, width] = pair(image.dataset.size);
      const scale = Math.min(1, LARGEST / Math.max(height, width));
      const map = bytes(image.dataset.maps).subarray(rows * columns * chosen.dataset.map).subarray(0, rows * columns);
      const drawn = [height, width].map((side) => Math.max(1, Math.round(side * scale)));
      const look = { colour, strength: isWeak(chosen) ? WEAK : 1 };
      const peak = paint(canvas, map, rows, columns, ...drawn, look);
      const cells = chosen.closest("tr").cells;
      const call = [cells[1].textContent, cells[2].textContent].filter(Boolean).join(", ");
      caption = peak
        ? `Heat map of ${chosen.textContent} (${call}): strongest ${peak.left} % from the left edge of the image, ${peak.top} % from its top.`
        : `Nothing in this image supports ${chosen.textContent} (${call}): its heat map is empty.`;
    }
    if (isWeak(chosen)) caption += " It is not positive: its colour is weaker than that of a positive finding.";
    canvas.setAttribute("aria-label", caption);
    if (find(image, "caption").textContent !== caption) find(image, "caption").textContent = caption;
  }

  function paintScale(canvas, colour) {
    const context = canvas.getContext("2d");
    const picture = context.createImageData(256, 1);
    for (let level = 0; level < 256; level++) picture.data.set([...colour.subarray(3 * level, 3 * level + 3), 255], 4 * level);
    context.putImageData(picture, 0, 0);
  }

  function choose(image, label) {
    for (const button of image.querySelectorAll(".cxr-label")) button.setAttribute("aria-pressed", String(button === label));
    show(image);
  }

  // An image keeps its state while others are shown. Where Gradio patches the page, the mark is removed with the drawing.
  const isDrawn = (image) => "drawn" in image.dataset;
  const nameOf = (image) => image.querySelector("h2").textContent;
  const choices = new WeakMap();  // the label chosen at each image, for when it comes again with other thresholds
  function draw(image) {
    if (!find(image, "map")) return;  // of a model without heat maps
    if (isDrawn(image)) return show(image);
    image.dataset.drawn = "";
    const last = choices.get(image);
    const isChosen = last?.name === nameOf(image)
      ? (button) => button.textContent === last.label
      : (button) => button.matches(".cxr-positive .cxr-label");
    choose(image, Array.from(image.querySelectorAll(".cxr-label")).find(isChosen) ?? null);
  }

  // An image is drawn when it first becomes visible: a report may hold a thousand.
  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      seen.unobserve(target);
      if (!isDrawn(target)) draw(target);
    }
  });

  document.addEventListener("click", ({ target }) => {
    const image = target.closest?.(".cxr-image");
    if (!image || !target.matches(".cxr-label, .cxr-none")) return;
    const label = target.matches(".cxr-none, [aria-pressed=true]") ? null : target;
    choices.set(image, { name: nameOf(image), label: label?.textContent });
    choose(image, label);
  });
  document.addEventListener("input", ({ target }) => {
    const image = target.closest?.(".cxr-image");
    if (image && target.matches(".cxr-fade")) fade(image);
    if (image && target.matches(".cxr-colormap")) show(image);
  });
  // Details cannot be unfolded on paper.
  let unfolded = [];
  window.addEventListener("beforeprint", () => {
    unfolded = Array.from(document.querySelectorAll(".cxr-image details:not([open])"));
    for (const part of unfolded) part.open = true;
  });
  window.addEventListener("afterprint", () => { for (const part of unfolded) part.open = false; });

  const watch = (node) => {
    if (node.nodeType !== Node.ELEMENT_NODE) return;
    if (node.matches(".cxr-image")) seen.observe(node);
    else for (const image of node.querySelectorAll(".cxr-image")) seen.observe(image);
  };
  const start = () => {
    watch(document.body);
    new MutationObserver((changes) => {
      for (const { type, target, addedNodes } of changes) {
        addedNodes.forEach(watch);
        if (type === "attributes" && target.matches(".cxr-image") && !isDrawn(target)) draw(target);
      }
    }).observe(document.body, { childList: true, subtree: true, attributeFilter: ["data-drawn"] });
  };
  if (document.body) start();
  else document.addEventListener("DOMContentLoaded", start);

  // Frees the memory of a drawing when its image is left.
  const forget = (image) => { const map = find(image, "map"); if (map) map.width = map.height = 1; };
  window.cxrEdge = { draw, forget };
})();
