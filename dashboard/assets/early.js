// Runs in the head, before anything is painted.
(function () {
  "use strict";
  // Dash's polyfill replaces trim by one that is some 80 times slower, and plotly.js calls it for every marker;
  // explore.js puts this one back.
  window.supersamTrim = String.prototype.trim;
  let theme = null;
  try {
    theme = localStorage.getItem("supersam-theme");
  } catch (blocked) {
    // Without storage the system's preference holds.
  }
  if (theme !== "dark" && theme !== "light") {
    theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  }
  document.documentElement.dataset.theme = theme;

  // Dash asks for plotly.js only when a figure is mounted, four answers of the server later. A page that has one asks
  // now, so that the browser reads it while it waits; Dash awaits whatever window.Plotly is, and plotly.js replaces it.
  const own = document.currentScript.dataset;
  if (!own.figures.split(" ").includes(location.pathname)) return;
  window.Plotly = new Promise((resolve, reject) => {
    const script = document.createElement("script");
    Object.assign(script, { src: own.plotly, async: true, onload: resolve, onerror: reject });
    document.head.append(script);
  });
})();
