// The page of a run: the filter's text goes into use and into the URL.
(function () {
  "use strict";
  const skip = () => window.dash_clientside.no_update;

  const run = {
    filter: function (submits, blurs, text, known) {
      text = (text || "").trim();
      return text === (known || "") ? skip() : text;
    },

    writeUrl: function (text) {
      const query = new URLSearchParams(location.search);
      if (text) query.set("where", text);
      else query.delete("where");
      const search = query.toString() ? "?" + query.toString() : "";
      if (search !== location.search) history.replaceState(history.state, "", location.pathname + search);
      return skip();
    },
  };

  // A hidden page need not ask for news.
  document.addEventListener("visibilitychange", () => {
    if (document.getElementById("run-where")) {
      window.dash_clientside.set_props("run-tick", { disabled: document.hidden });
    }
  });

  window.dash_clientside = Object.assign({}, window.dash_clientside, { run });
})();
