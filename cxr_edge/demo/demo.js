/* Gradio reports a file that is too large only by a message that fades, while the result of an earlier upload stays. */
(() => {
  const most = Number(document.currentScript.dataset.most);
  const alertId = "demo-refused";
  const check = (files) => {
    document.getElementById(alertId)?.remove();
    const large = [...(files ?? [])].find((file) => file.size > most);
    const shown = document.getElementById("shown");
    if (!large || !shown) return;
    const alert = document.createElement("div");
    alert.id = alertId;
    alert.className = "demo-alert";
    alert.setAttribute("role", "alert");
    const image = shown.querySelector(".cxr-image");
    const before = image ? " The image below is the one before it." : "";
    alert.textContent = `${large.name} is larger than ${most / 2 ** 20} MiB and was not read.${before}`;
    shown.before(alert);
    new MutationObserver((_, observer) => {
      if (shown.querySelector(".cxr-image") === image) return;
      alert.remove();
      observer.disconnect();
    }).observe(shown, { childList: true, subtree: true });
  };
  document.addEventListener("change", (event) => { if (event.target.type === "file") check(event.target.files); }, true);
  document.addEventListener("drop", (event) => check(event.dataTransfer?.files), true);
})();

/* On a phone a result is below the fold: one of another image, or an error, is scrolled into view when it appears. */
(() => {
  const keyOf = (result) => result.matches(".cxr-image")
    ? result.querySelector("h2").textContent + result.querySelector("img").src  // other settings show the same image
    : result.textContent;
  let before = "";
  const reveal = () => {
    const result = document.getElementById("shown")?.querySelector(".cxr-image, .demo-alert");
    const key = result ? keyOf(result) : "";
    if (key === before) return;
    before = key;
    if (!result || result.getBoundingClientRect().top < window.innerHeight / 2) return;
    const isCalm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    result.scrollIntoView({ behavior: isCalm ? "instant" : "smooth", block: "start" });
  };
  const watch = () => new MutationObserver(reveal).observe(document.body, { childList: true, subtree: true });
  if (document.body) watch();
  else document.addEventListener("DOMContentLoaded", watch);
})();
