"use strict";
// Pages are whole without this. With it, a choice renews its own part of the page, and what is being run follows along.
(() => {
  let last = 0;
  const renew = async (address, id, { keep = false } = {}) => {
    const mine = ++last;
    const part = document.getElementById(id);
    if (!keep) part.classList.add("busy");
    try {
      const response = await fetch(address, { headers: { Accept: "text/html" }, credentials: "same-origin" });
      if (!response.ok) throw new Error(response.statusText);
      const found = new DOMParser().parseFromString(await response.text(), "text/html");
      const next = found.getElementById(id);
      if (mine !== last && !keep) return true;
      const focus = part.contains(document.activeElement) ? document.activeElement.textContent : null;
      const opened = [...part.querySelectorAll("details")].map((each) => each.open);
      part.replaceWith(...(next ? [next] : []));
      document.title = found.title;
      if (!next) return false;
      if (keep) [...next.querySelectorAll("details")].forEach((each, i) => { each.open = opened[i] ?? false; });
      if (focus !== null) [...next.querySelectorAll("a")].find((each) => each.textContent === focus)?.focus();
      next.dispatchEvent(new CustomEvent("replaced", { bubbles: true }));
      return true;
    } catch {
      part.classList.remove("busy");
      if (!keep) location.assign(address);
      return true;
    }
  };
  const show = (address, id, replace) => {
    history[replace ? "replaceState" : "pushState"]({ id }, "", address);
    renew(address, id);
  };

  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[data-swap]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    show(link.href, link.dataset.swap, false);
  });

  // Filters apply as they are typed or chosen; empty ones stay out of the address
  const addressOf = (form) => {
    const query = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
    return form.getAttribute("action") + (query.size ? `?${query}` : "");
  };
  let wait;
  for (const kind of ["input", "submit"]) {
    document.addEventListener(kind, (event) => {
      const form = event.target.closest?.("form[data-swap]");
      if (!form) return;
      if (kind === "submit") event.preventDefault();
      clearTimeout(wait);
      const typed = event.target.matches("input");
      wait = setTimeout(() => show(addressOf(form), form.dataset.swap, typed), typed ? 250 : 0);
    });
  }
  addEventListener("popstate", () => location.reload());

  // What is being run
  const poll = async () => {
    const part = document.querySelector("[data-poll]");
    if (!part) return;
    const seconds = Number(part.dataset.poll);
    if (!document.hidden && !document.querySelector(".busy")) {
      if (!(await renew(location.href, part.id, { keep: true }))) return location.reload();
    }
    setTimeout(poll, 1000 * seconds);
  };
  const first = document.querySelector("[data-poll]");
  if (first) setTimeout(poll, 1000 * Number(first.dataset.poll));
})();
