// Parallel coordinates on a canvas, with axes and brushes as SVG over it.
(function () {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";
  const TOP = 34, BOTTOM = 14, SIDE = 46, HIT = 30;
  const SHADES = { light: [[201, 211, 221], [10, 79, 134]], dark: [[62, 74, 88], [143, 208, 255]] };
  let shown = null; // what is drawn, to draw it again where the size or the theme changes

  function element(name, attributes, text) {
    const made = document.createElementNS(SVG, name);
    for (const key in attributes) made.setAttribute(key, attributes[key]);
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function shade(value) {
    const [from, to] = SHADES[document.documentElement.dataset.theme] || SHADES.light;
    return from.map((part, place) => Math.round(part + (to[place] - part) * value)).join(",");
  }

  function lines(canvas, data, width, height) {
    const scale = window.devicePixelRatio || 1;
    canvas.width = width * scale;
    canvas.height = height * scale;
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    const x = (place) => SIDE + (place * (width - 2 * SIDE)) / Math.max(1, data.axes.length - 1);
    const y = (value) => TOP + (1 - value) * (height - TOP - BOTTOM);
    const filtered = data.kept.some((one) => !one);
    const order = data.kept.map((_, row) => row).sort((a, b) => data.kept[a] - data.kept[b] || data.shade[a] - data.shade[b]);
    for (const row of order) {
      pen.strokeStyle = `rgba(${shade(data.shade[row])},${data.kept[row] ? 0.75 : 0.12})`;
      pen.lineWidth = data.kept[row] && filtered ? 1.6 : 1;
      pen.beginPath();
      data.axes.forEach((axis, place) => pen.lineTo(x(place), y(axis.values[row])));
      pen.stroke();
    }
    return { x, y };
  }

  // Return the filter term of a brushed part of an axis; an empty text removes it.
  function term(axis, low, high) {
    const value = (place) => axis.range[0] + place * (axis.range[1] - axis.range[0]);
    if (axis.words.length) {
      const chosen = axis.words.filter((_, place) => value(low) <= place && place <= value(high));
      return chosen.length && chosen.length < axis.words.length ? `${axis.name}:${chosen.join(",")}` : "";
    }
    const short = (place) => String(Number(value(place).toPrecision(4)));
    return `${axis.name}:${short(low)}..${short(high)}`;
  }

  function write(axis, text) {
    const field = document.getElementById("run-where");
    const kept = (field.value || "").split(/\s+/).filter((word) => word && word.split(":")[0] !== axis.name);
    const where = kept.concat(text ? [text] : []).join(" ");
    window.dash_clientside.set_props("run-where", { value: where });
    window.dash_clientside.set_props("run-filter", { data: where });
  }

  function brushing(svg, axis, x, y) {
    const hit = element("rect", { x: x - HIT / 2, y: TOP - 6, width: HIT, height: y(0) - TOP + 12, class: "parallel-hit" });
    hit.append(element("title", {}, `Drag to filter ${axis.title}`));
    hit.addEventListener("pointerdown", (start) => {
      hit.setPointerCapture(start.pointerId);
      const height = svg.getBoundingClientRect();
      const place = (event) => Math.min(1, Math.max(0, 1 - (event.clientY - height.top - TOP) / (y(0) - TOP)));
      const from = place(start);
      const box = element("rect", { x: x - 7, width: 14, class: "parallel-brush" });
      svg.append(box);
      const move = (event) => {
        const [low, high] = [from, place(event)].sort((a, b) => a - b);
        box.setAttribute("y", y(high));
        box.setAttribute("height", Math.max(1, y(low) - y(high)));
        return [low, high];
      };
      hit.onpointermove = move;
      hit.onpointerup = (event) => {
        const [low, high] = move(event);
        hit.onpointermove = hit.onpointerup = null;
        write(axis, (high - low) * (y(0) - TOP) < 4 ? "" : term(axis, low, high));
      };
    });
    return hit;
  }

  function draw() {
    const frame = document.getElementById("run-parallel");
    if (!frame) return;
    if (!shown) return frame.replaceChildren();
    const { width, height } = frame.getBoundingClientRect();
    const canvas = document.createElement("canvas");
    const svg = element("svg", { width, height, class: "parallel-axes" });
    const { x, y } = lines(canvas, shown, width, height);
    shown.axes.forEach((axis, place) => {
      svg.append(element("line", { x1: x(place), x2: x(place), y1: y(0), y2: y(1), class: "parallel-axis" }));
      svg.append(element("text", { x: x(place), y: 16, class: "parallel-title" }, axis.title));
      for (const [value, text] of axis.ticks) {
        svg.append(element("text", { x: x(place) - 5, y: y(value) + 4, class: "parallel-tick" }, text));
      }
      for (const [low, high] of axis.brushes) {
        svg.append(element("rect", { x: x(place) - 7, y: y(high), width: 14, height: Math.max(2, y(low) - y(high)), class: "parallel-brush" }));
      }
      svg.append(brushing(svg, axis, x(place), y));
    });
    frame.replaceChildren(canvas, svg);
  }

  new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  window.addEventListener("resize", draw);

  window.dash_clientside = Object.assign({}, window.dash_clientside, {
    parallel: {
      draw: function (data) {
        shown = data; // null where there is no candidate yet
        requestAnimationFrame(draw);
        return window.dash_clientside.no_update;
      },
    },
  });
})();
