// What runs in the browser: choices become state, state becomes the URL, keys move along the front.
(function () {
  "use strict";
  String.prototype.trim = window.supersamTrim || String.prototype.trim;

  // Dash makes its object after this file has run.
  const skip = () => window.dash_clientside.no_update;
  const THEME_KEY = "supersam-theme";
  const BUDGET = "explore-budget";
  const LIMITS = { "explore-params": "params", "explore-macs": "macs" };
  const LISTS = ["block", "resolution", "compare"]; // keys that hold several choices
  const MOST_COMPARED = 4;
  let front = []; // [digest, milliseconds] of the drawn front, from fast to slow
  let here = null; // milliseconds of the selected subnet
  let target = null; // what a key asked for until it arrives, so that keys can be faster than answers

  function triggers() {
    return window.dash_clientside.callback_context.triggered.map((trigger) => {
      const dot = trigger.prop_id.lastIndexOf("."); // keys may have dots
      return { id: trigger.prop_id.slice(0, dot), prop: trigger.prop_id.slice(dot + 1), value: trigger.value };
    });
  }

  // A button that is drawn anew reports itself once, without a click.
  function clicked() {
    return triggers().filter((trigger) => trigger.prop === "n_clicks" && trigger.value);
  }

  // One of a list of choices was clicked: it goes out if it was in, else in.
  function toggled(shown, name, key) {
    const list = ((shown && shown.pressed && shown.pressed[name]) || []).slice();
    const place = list.indexOf(key);
    if (place >= 0) list.splice(place, 1);
    else list.push(key);
    return (name === "compare" ? list.slice(0, MOST_COMPARED) : list).join(",");
  }

  function apply(next, click, shown) {
    const { name, key } = JSON.parse(click.id);
    if (LISTS.includes(name)) next[name] = toggled(shown, name, key);
    else if (name === "uncompare") next.compare = toggled(shown, "compare", key);
    else if (name === "clear") {
      for (const gone of ["block", "resolution", "params", "macs"]) delete next[gone];
    } else {
      const before = shown && shown.pressed && shown.pressed.device;
      if (name === "device" && before && before !== key) next.against = before;
      next[name] = key;
    }
  }

  const frame = {
    nav: function (path, ids) {
      const here = (path || "/").replace(/\/$/, "") || "/";
      return ids.map((id) => {
        const current = (id.path.replace(/\/$/, "") || "/") === here;
        const link = document.querySelector(`nav a[href="${id.path}"]`);
        if (link) link.toggleAttribute("aria-current", current);
        if (link && current) link.setAttribute("aria-current", "page");
        return current ? "nav here" : "nav";
      });
    },

    theme: function (clicks) {
      const root = document.documentElement;
      if (clicks) {
        root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
        try {
          localStorage.setItem(THEME_KEY, root.dataset.theme);
        } catch (blocked) {
          // It holds until the page is left.
        }
      }
      return [root.dataset.theme, String(root.dataset.theme === "dark")];
    },
  };

  const explore = {
    choose: function (...given) {
      const [budget, params, macs, state, shown] = given.slice(-5);
      const next = Object.assign({}, state);
      for (const trigger of triggers()) {
        const key = LIMITS[trigger.id];
        if (key) next[key] = ((key === "params" ? params : macs) || "").trim();
      }
      // After the fields: a click on Clear leaves a field, so both arrive together.
      for (const click of clicked()) apply(next, click, shown);
      if (triggers().some((trigger) => trigger.id === BUDGET)) {
        const text = (budget || "").trim();
        if (text !== ((shown && shown.budget) || "") || next.budget !== undefined) next.budget = text || "none";
      }
      for (const key of Object.keys(next)) if (next[key] === "") delete next[key];
      if (JSON.stringify(next) === JSON.stringify(state)) return skip();
      target = null;
      return next;
    },

    // The fields say what is in use, also after all filters were cleared.
    fields: function (state) {
      return [(state && state.params) || "", (state && state.macs) || ""];
    },

    press: function (shown, ids) {
      const pressed = (shown && shown.pressed) || {};
      const among = (value, key) => (Array.isArray(value) ? value.includes(key) : value === key);
      // A button that was taken away meanwhile has no id any more.
      return ids.map((id) => String(Boolean(id) && among(pressed[id.name], id.key)));
    },

    mark: function (point, ids) {
      return ids.map((id) => String(Boolean(point) && point.digest === id.digest));
    },

    pick: function (click) {
      const rows = clicked();
      const onFigure = triggers().some((trigger) => trigger.prop === "clickData");
      const point = onFigure && click && click.points.find((one) => one.customdata);
      if (!rows.length && !point) return skip();
      target = null;
      return rows.length ? JSON.parse(rows[rows.length - 1].id).digest.replace("switch/", "") : point.customdata[0];
    },

    // The last trace is the ring around the selected point, with its intervals. One function makes the whole figure, so
    // that a new base and a new selection cannot overwrite each other.
    draw: function (base, point) {
      if (!target || !point || point.digest === target[0]) target = null;
      if (!target) here = point ? point.ms : 0;
      front = (base && base.layout.meta.front) || [];
      if (!base) return skip();
      const ring = Object.assign({}, base.data[base.data.length - 1]);
      ring.x = point ? [point.ms] : [];
      ring.y = point ? [point.accuracy] : [];
      if (point) {
        const bar = (style, value, ends) => Object.assign({}, style, { array: [ends[1] - value], arrayminus: [value - ends[0]] });
        ring.error_x = bar(ring.error_x, point.ms, point.ms_90);
        ring.error_y = bar(ring.error_y, point.accuracy, point.accuracy_95);
      }
      return { data: base.data.slice(0, -1).concat([ring]), layout: base.layout };
    },

    writeUrl: function (shown, point) {
      const parts = [shown && shown.query, point && point.is_chosen && "subnet=" + point.digest].filter(Boolean);
      const search = parts.length ? "?" + parts.join("&") : "";
      if (search !== location.search) history.replaceState(history.state, "", location.pathname + search);
      return skip();
    },

    svg: function (clicks) {
      const plot = document.querySelector("#explore-figure .js-plotly-plot");
      if (clicks && plot) window.Plotly.downloadImage(plot, { format: "svg", filename: "supersam-front" });
      return skip();
    },

    copy: function (clicks) {
      return clicks || skip();
    },
  };

  function step(key) {
    if (key === "Home") return front[0];
    if (key === "End") return front[front.length - 1];
    const from = target ? target[1] : here;
    if (key === "ArrowRight" || key === "ArrowUp") return front.find((one) => one[1] > from);
    if (key === "ArrowLeft" || key === "ArrowDown") return front.filter((one) => one[1] < from).pop();
    return null;
  }

  document.addEventListener("keydown", (event) => {
    if (!event.target.closest || !event.target.closest("#explore-chart")) return;
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const next = step(event.key);
    if (next === null) return;
    event.preventDefault(); // else the page scrolls
    if (!next) return; // at an end of the front
    target = next;
    window.dash_clientside.set_props("explore-subnet", { data: next[0] });
  });

  // A hidden page need not ask for news.
  document.addEventListener("visibilitychange", () => {
    if (document.getElementById("explore-chart")) {
      window.dash_clientside.set_props("explore-tick", { disabled: document.hidden });
    }
  });

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => {
    let kept = null;
    try {
      kept = localStorage.getItem(THEME_KEY);
    } catch (blocked) {
      // Nothing is kept.
    }
    if (kept) return;
    document.documentElement.dataset.theme = event.matches ? "dark" : "light";
    window.dash_clientside.set_props("frame-theme", { data: document.documentElement.dataset.theme });
  });

  window.dash_clientside = Object.assign({}, window.dash_clientside, { frame, explore });
})();
