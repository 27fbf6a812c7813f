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
