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

  // Dash awaits whatever window.Plotly is when the first figure is mounted, four answers of the server later; without
  // one it would load the whole of plotly.js. This stands for the part that draws our figures until that has loaded and
  // takes its place. A page that always has a figure asks at once, so that the browser reads it while it waits.
  const own = document.currentScript.dataset;
  let asked = null;
  const ask = () =>
    (asked ||= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      Object.assign(script, { src: own.plotly, async: true, onload: () => resolve(), onerror: reject });
      document.head.append(script);
    }));
  window.Plotly = { then: (resolve, reject) => ask().then(resolve, reject) };
  if (own.figures.split(" ").includes(location.pathname)) ask();
})();
