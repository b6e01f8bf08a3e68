// The page without a server: one front at a time, details of the subnet that was clicked, two themes.
(function () {
  "use strict";
  const { figures, config } = JSON.parse(document.getElementById("figures").textContent);
  const views = [...document.querySelectorAll("section.view")];
  const buttons = [...document.querySelectorAll("button[data-view]")];
  const root = document.documentElement;
  let shown = null;

  function draw() {
    const chart = shown.querySelector(".chart");
    const figure = figures[shown.dataset.view][root.dataset.theme];
    window.Plotly.react(chart, figure.data, figure.layout, config);
    if (!chart.listens) chart.on("plotly_click", (event) => select(event.points.find((one) => one.customdata)));
    chart.listens = true;
  }

  function select(point) {
    if (point) choose(point.customdata[0]);
  }

  function choose(digest) {
    const panels = [...shown.querySelectorAll("[data-subnet]")];
    if (!panels.some((panel) => panel.dataset.subnet === digest)) return; // of dominated ones nothing more is here
    panels.forEach((panel) => (panel.hidden = panel.dataset.subnet !== digest));
    shown.querySelectorAll("tr[data-digest]").forEach((row) => {
      row.setAttribute("aria-current", String(row.dataset.digest === digest));
    });
  }

  function open(key) {
    views.forEach((view) => (view.hidden = view.dataset.view !== key));
    buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.view === key)));
    shown = views.find((view) => !view.hidden);
    draw();
  }

  function theme(name) {
    root.dataset.theme = name;
    document.getElementById("theme").setAttribute("aria-pressed", String(name === "dark"));
    if (shown) draw();
  }

  buttons.forEach((button) => button.addEventListener("click", () => open(button.dataset.view)));
  document.getElementById("theme").addEventListener("click", () => theme(root.dataset.theme === "dark" ? "light" : "dark"));
  document.querySelectorAll("tr[data-digest]").forEach((row) => row.addEventListener("click", () => choose(row.dataset.digest)));
  theme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  open(views[0].dataset.view);
})();
