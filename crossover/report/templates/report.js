"use strict";
// The page is whole without this. With it: tabs for axes, figures that tell their values, tables that sort and
// are saved as CSV, and a switch between light and dark.
(() => {
  const make = (tag, props, ...children) => {
    const element = Object.assign(document.createElement(tag), props);
    element.append(...children);
    return element;
  };

  // Light and dark
  const root = document.documentElement;
  const dark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const theme = make("button", { type: "button", textContent: "Light or dark" });
  theme.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; });
  if (!document.querySelector(".tools")) document.querySelector("header").prepend(make("div", { className: "tools" }, theme));

  const enhance = (page) => {
    // One axis at a time
    for (const axes of page.querySelectorAll(".axes")) {
      const panels = [...axes.children];
      if (panels.length < 2) continue;
      const tabs = panels.map((panel) => {
        const tab = make("button", { type: "button", textContent: panel.dataset.axis });
        tab.setAttribute("role", "tab");
        tab.addEventListener("click", () => show(panel));
        tab.addEventListener("keydown", (event) => {
          const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
          if (!step) return;
          const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
          next.focus();
          next.click();
        });
        panel.setAttribute("role", "tabpanel");
        return tab;
      });
      const show = (chosen) => panels.forEach((panel, i) => {
        panel.hidden = panel !== chosen;
        if (panel.tagName === "DETAILS") panel.open = true;
        tabs[i].setAttribute("aria-selected", String(panel === chosen));
        tabs[i].tabIndex = panel === chosen ? 0 : -1;
      });
      const nav = make("nav", {}, ...tabs);
      nav.setAttribute("role", "tablist");
      axes.prepend(nav);
      axes.classList.add("tabbed");
      show(panels[0]);
    }

    // What a figure shows under the pointer: the row of its table that is nearest
    for (const figure of page.querySelectorAll("figure[data-low]")) {
      const rows = [...figure.querySelectorAll("tr[data-x]")].filter((row) => Number(row.dataset.x) > 0);
      if (!rows.length) continue;
      const names = [...rows[0].closest("table").tHead.rows[0].cells].map((cell) => cell.textContent);
      const places = rows.map((row) => Math.log(Number(row.dataset.x)));
      const low = Math.log(Number(figure.dataset.low)), span = Math.log(Number(figure.dataset.high)) - low;
      const tip = make("div", { className: "tip", hidden: true });
      figure.append(tip);
      const words = (row) => {
        const cells = [...row.cells].map((cell) => cell.textContent);
        const lines = [`${names[0]} ${cells[0]}`];
        for (let i = 1; i + 2 < cells.length; i += 3) {
          if (cells[i]) lines.push(`${names[i].replace(/ mean$/, "")}: ${cells[i]} (${cells[i + 1]} … ${cells[i + 2]})`);
        }
        return lines;
      };
      for (const drawing of figure.querySelectorAll("svg")) {
        const plots = [...drawing.querySelectorAll("g[clip-path]")];
        const clip = plots[0] && drawing.querySelector(plots[0].getAttribute("clip-path").slice(4, -1) + " rect");
        if (!clip) continue;
        const width = Number(clip.getAttribute("width"));
        const hair = document.createElementNS("http://www.w3.org/2000/svg", "line");
        hair.setAttribute("class", "hair");
        drawing.append(hair);
        drawing.addEventListener("pointermove", (event) => {
          const matrix = plots[0].getScreenCTM();
          const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse()).x / width;
          const outside = at < 0 || at > 1;
          tip.hidden = outside;
          hair.style.display = outside ? "none" : "";
          if (outside) return;
          const wanted = low + at * span;
          let best = 0;
          places.forEach((place, i) => { if (Math.abs(place - wanted) < Math.abs(places[best] - wanted)) best = i; });
          const screen = new DOMPoint(((places[best] - low) / span) * width, 0).matrixTransform(matrix);
          const inside = screen.matrixTransform(drawing.getScreenCTM().inverse()).x;
          const box = drawing.viewBox.baseVal;
          for (const [name, value] of [["x1", inside], ["x2", inside], ["y1", 40], ["y2", box.height - 40]]) hair.setAttribute(name, value);
          tip.replaceChildren(...words(rows[best]).map((text) => make("div", { textContent: text })));
          const frame = figure.getBoundingClientRect();
          const right = screen.x - frame.left + 14;
          const fits = right + tip.offsetWidth < frame.width;
          tip.style.left = `${Math.max(0, fits ? right : right - tip.offsetWidth - 28)}px`;
          tip.style.top = `${event.clientY - frame.top + 12}px`;
        });
        drawing.addEventListener("pointerleave", () => { tip.hidden = true; hair.style.display = "none"; });
      }
    }

    // Tables: sorted by a column, saved as CSV
    const powers = { k: 1e3, M: 1e6, B: 1e9, T: 1e12, s: 1, min: 60, h: 3600, d: 86400 };
    const plain = (text) => text.replace(/−/g, "-").replace(/,(?=\d{3})/g, "");
    const number = (text) => {
      const found = plain(text).match(/^[^\d+-]*([+-]?[\d.]+)(?:\s*×\s*10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+))?\s*([a-zA-Z]+)?/);
      if (!found) return NaN;
      const power = [...(found[2] ?? "")].map((c) => (c === "⁻" ? "-" : "⁰¹²³⁴⁵⁶⁷⁸⁹".indexOf(c))).join("");
      return Number(found[1]) * 10 ** Number(power || 0) * (powers[found[3]] ?? 1);
    };
    const order = (one, other) => {
      const [a, b] = [number(one), number(other)];
      if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b) || one.localeCompare(other);
      return a - b;
    };
    const quote = (text) => (/[",\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text);
    for (const table of page.querySelectorAll("table:not(.served)")) {
      if (!table.tHead || table.tBodies[0].rows.length < 2) continue;
      const heads = [...table.tHead.rows[0].cells];
      const names = heads.map((head) => head.textContent);
      heads.forEach((head, i) => {
        const button = make("button", { type: "button", title: "Sort" }, ...head.childNodes);
        head.replaceChildren(button);
        button.addEventListener("click", () => {
          const descending = head.getAttribute("aria-sort") === "ascending";
          heads.forEach((each) => each.removeAttribute("aria-sort"));
          head.setAttribute("aria-sort", descending ? "descending" : "ascending");
          const rows = [...table.tBodies[0].rows].sort((a, b) => order(a.cells[i].textContent, b.cells[i].textContent));
          table.tBodies[0].append(...(descending ? rows.reverse() : rows));
        });
      });
      const save = make("button", { type: "button", className: "csv", textContent: "CSV" });
      save.addEventListener("click", () => {
        const rows = [names, ...[...table.tBodies[0].rows].map((row) => [...row.cells].map((cell) => plain(cell.textContent)))];
        const text = rows.map((row) => row.map(quote).join(",")).join("\r\n");
        const url = URL.createObjectURL(new Blob(["\ufeff", text, "\r\n"], { type: "text/csv" }));
        const name = table.caption.firstChild.textContent.trim().toLowerCase().replace(/[^a-z0-9]+/g, "-");
        make("a", { href: url, download: `${name}.csv` }).click();
        setTimeout(() => URL.revokeObjectURL(url), 1000);
      });
      table.caption.append(save);
    }
  };
  enhance(document);
  document.addEventListener("replaced", (event) => enhance(event.target)); // of pages that renew a part of themselves

  // Printed whole
  addEventListener("beforeprint", () => document.querySelectorAll("details.axis").forEach((each) => { each.open = true; }));
})();
