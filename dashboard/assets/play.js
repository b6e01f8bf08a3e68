// The playground: sliders and buttons become places of choices; a click on the image becomes a point.
(function () {
  "use strict";
  const skip = () => window.dash_clientside.no_update;

  const play = {
    collect: function (values, clicks, ids, state) {
      const next = Object.assign({}, state);
      ids.forEach((id, place) => {
        const value = Number(values[place]);
        if (Number.isInteger(value)) next[id.name] = value;
      });
      for (const trigger of window.dash_clientside.callback_context.triggered) {
        const id = trigger.prop_id.slice(0, trigger.prop_id.lastIndexOf("."));
        if (!id.includes("play-type") || !trigger.value) continue;
        const { name, key } = JSON.parse(id);
        next[name] = Number(key);
      }
      return JSON.stringify(next) === JSON.stringify(state) ? skip() : next;
    },

    mirror: function (state, types, values, names) {
      const pressed = types.map((id) => String(state[id.name] === Number(id.key)));
      return [pressed, values.map((id) => names[id.name][state[id.name]])];
    },

    writeUrl: function (at) {
      const search = "?at=" + at;
      if (search !== location.search) history.replaceState(history.state, "", location.pathname + search);
      return skip();
    },
  };

  document.addEventListener("click", (event) => {
    if (event.target.id !== "play-image") return;
    const frame = event.target.getBoundingClientRect();
    const share = (value, start, size) => Math.round((100 * (value - start)) / size);
    window.dash_clientside.set_props("play-x", { value: share(event.clientX, frame.left, frame.width) });
    window.dash_clientside.set_props("play-y", { value: share(event.clientY, frame.top, frame.height) });
  });

  window.dash_clientside = Object.assign({}, window.dash_clientside, { play });
})();
