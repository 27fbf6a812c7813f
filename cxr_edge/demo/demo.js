/* Gradio says of a file that is too large only what fades away, beside an image that was uploaded before. */
(() => {
  const most = Number(document.currentScript.dataset.most);
  const told = "demo-refused";
  const look = (files) => {
    document.getElementById(told)?.remove();
    const large = [...(files ?? [])].find((file) => file.size > most);
    const shown = document.getElementById("shown");
    if (!large || !shown) return;
    const alert = document.createElement("div");
    alert.id = told;
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
  document.addEventListener("change", (event) => { if (event.target.type === "file") look(event.target.files); }, true);
  document.addEventListener("drop", (event) => look(event.dataTransfer?.files), true);
})();
