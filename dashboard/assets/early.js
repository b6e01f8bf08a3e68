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
})();
