"use strict";
for (const figure of document.querySelectorAll("figure")) {
  const map = figure.querySelector(".map");
  const [, , width, height] = map.getAttribute("viewBox").split(" ").map(Number);
  const metres = Number(map.dataset.metres);
  const at = (element) => element.getAttribute("transform").match(/-?[\d.]+/g).map(Number);
  const marks = [...map.querySelectorAll(".mark")].map((mark) => [mark, ...at(mark)]);
  const labels = [...map.querySelectorAll(".degrees")];
  const lines = [...map.querySelectorAll(".graticule")].map((line) =>
    line.getAttribute("d").slice(1).split("L").map((point) => point.split(" ").map(Number)));
  const scale = map.querySelector(".scale");
  let x = 0, y = 0, k = 1;  // the corner of the view, and its width over that of the whole map

  function crossing(points, axis, border) {
    for (let n = 1; n < points.length; n++) {
      const [a, b] = [points[n - 1], points[n]];
      if (a[axis] > border !== b[axis] > border) {
        const part = (border - a[axis]) / (b[axis] - a[axis]);
        return [a[0] + part * (b[0] - a[0]), a[1] + part * (b[1] - a[1])];
      }
    }
    return null;
  }
  const unit = () => width / map.getBoundingClientRect().width;
  function draw() {
    const size = k * Math.max(1, 0.75 * unit());  // of symbols and letters, also on a narrow screen
    map.setAttribute("viewBox", `${x} ${y} ${width * k} ${height * k}`);
    map.classList.toggle("near", k < 0.3);
    for (const [mark, east, south] of marks) {
      mark.setAttribute("transform", `translate(${east} ${south}) scale(${size})`);
    }
    labels.forEach((label, n) => {
      const meridian = label.classList.contains("meridian");
      const point = crossing(lines[n], meridian ? 1 : 0, meridian ? y + height * k - 6 * size : x + 4 * size);
      // The corner is the meridians'.
      const shown = point && (meridian || point[1] < y + height * k - 20 * size);
      label.setAttribute("visibility", shown ? "visible" : "hidden");
      if (point) label.setAttribute("transform", `translate(${point[0]} ${point[1]}) scale(${size})`);
    });
    const most = 200 * metres * size, power = 10 ** Math.floor(Math.log10(most));
    const bar = [5, 2, 1].map((factor) => factor * power).find((length) => length <= most);
    const round = Number(bar.toPrecision(1));
    scale.querySelector("path").setAttribute("d", `M0 -5V0H-${bar / metres / size}V-5`);
    scale.querySelector("text").textContent = round >= 1000 ? `${round / 1000} km` : `${round} m`;
    const corner = `${x + width * k - 20 * size} ${y + height * k - 28 * size}`;
    scale.setAttribute("transform", `translate(${corner}) scale(${size})`);
  }
  function zoom(factor, px = width / 2, py = height / 2) {
    const next = Math.min(2, Math.max(1e-4, k * factor));
    x += px * (k - next);
    y += py * (k - next);
    k = next;
    draw();
  }
  function reset() { x = 0; y = 0; k = 1; draw(); }
  function pan(dx, dy) { x += dx * k; y += dy * k; draw(); }

  const keys = {
    "+": () => zoom(0.7),
    "=": () => zoom(0.7),
    "-": () => zoom(1 / 0.7),
    "0": reset,
    ArrowLeft: () => pan(-60, 0),
    ArrowRight: () => pan(60, 0),
    ArrowUp: () => pan(0, -60),
    ArrowDown: () => pan(0, 60),
  };
  map.addEventListener("keydown", (event) => {
    if (keys[event.key] && !event.ctrlKey && !event.metaKey) { event.preventDefault(); keys[event.key](); }
  });
  map.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && document.activeElement !== map) return;  // else the page scrolls
    event.preventDefault();
    const box = map.getBoundingClientRect();
    zoom(1.2 ** Math.sign(event.deltaY), (event.clientX - box.left) * unit(), (event.clientY - box.top) * unit());
  }, { passive: false });
  map.addEventListener("pointermove", (event) => {
    if (event.buttons & 1) pan(-event.movementX * unit(), -event.movementY * unit());
  });
  map.addEventListener("pointerdown", (event) => map.setPointerCapture(event.pointerId));
  map.addEventListener("dblclick", () => zoom(0.5));

  const buttons = document.createElement("div");
  buttons.className = "buttons";
  for (const [sign, name, action] of [
    ["+", "Enlarge", () => zoom(0.6)],
    ["\u2212", "Reduce", () => zoom(1 / 0.6)],
    ["\u27f2", "Whole map", reset],
  ]) {
    const button = document.createElement("button");
    button.textContent = sign;
    button.setAttribute("aria-label", name);
    button.title = name;
    button.addEventListener("click", action);
    buttons.append(button);
  }
  figure.append(buttons);
  new ResizeObserver(draw).observe(map);
}
