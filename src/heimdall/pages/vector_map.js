for (const map of document.querySelectorAll(".map")) {
  const figure = map.parentElement;
  const [, , width, height] = map.getAttribute("viewBox").split(" ").map(Number);
  const metres = Number(map.dataset.metres);
  const at = (element) => element.getAttribute("transform").match(/-?[\d.]+/g).map(Number);
  const labelled = (element) => {
    const text = element.querySelector("text");
    return {
      element, text, level: Number(element.dataset.level),
      left: Number(element.dataset.left), width: Number(element.dataset.width),
      across: Number(text.getAttribute("x")), down: Number(text.getAttribute("y")), side: text.getAttribute("text-anchor"),
    };
  };
  // The same label at the other side of its symbol.
  const turned = (label) => ({
    ...label, left: -label.left - label.width, across: -label.across,
    side: { start: "end", middle: "middle", end: "start" }[label.side],
  });
  const marks = [...map.querySelectorAll(".mark")].map((mark) => {
    const label = mark.querySelector(".label");
    return { element: mark, point: at(mark), label: label && labelled(label) };
  });
  const towns = [...map.querySelectorAll(".town")].map((town) => ({ ...labelled(town), point: at(town) }));
  const degrees = [...map.querySelectorAll(".degrees")];
  const lines = [...map.querySelectorAll(".graticule")].map((line) => {
    const [first, ...steps] = line.getAttribute("d").slice(1).split(/[l ]/).reduce((pairs, number, n) => {
      if (n % 2) pairs.at(-1).push(Number(number)); else pairs.push([Number(number)]);
      return pairs;
    }, []);
    let last = first;
    return [first, ...steps.map(([dx, dy]) => (last = [last[0] + dx, last[1] + dy]))];
  });
  // At the left and the lower side degrees stand.
  const strip = 6 + 6.6 * Math.max(0, ...[...map.querySelectorAll(".parallel")].map((one) => one.textContent.length));
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
  const overlap = (one, other) =>
    one[0] < other[2] && other[0] < one[2] && one[1] < other[3] && other[1] < one[3];
  const unit = () => width / map.getBoundingClientRect().width;
  const show = (element, shown) => element.setAttribute("visibility", shown ? "visible" : "hidden");
  function draw() {
    if (!map.getBoundingClientRect().width) return;  // in a part of the page that is closed
    const size = k * Math.max(1, 0.8 * unit());  // of symbols and letters, also on a narrow screen
    const level = -Math.log2(size);
    const [right, bottom] = [x + width * k, y + height * k];
    const boxes = [], moved = [];  // of what is shown; of labels that stand where no room was kept for them
    const free = (box) => !boxes.some((one) => overlap(one, box));
    const place = (label, point) => {
      const [left, base] = [point[0] + label.left * size, point[1] + label.down * size];
      return [left, base - 13 * size, left + label.width * size, base + 5 * size];
    };
    map.setAttribute("viewBox", `${x} ${y} ${width * k} ${height * k}`);
    for (const { element, point, label } of marks) {
      element.setAttribute("transform", `translate(${point[0]} ${point[1]}) scale(${size})`);
      boxes.push([point[0] - 8 * size, point[1] - 8 * size, point[0] + 8 * size, point[1] + 8 * size]);
      if (!label) continue;
      const beyond = (box) => box[0] < x || box[2] > right;
      const cut = point[0] > x && point[0] < right && beyond(place(label, point));
      const placed = cut ? turned(label) : label, box = place(placed, point);
      const shown = label.level <= level && !(cut && (beyond(box) || !free(box)));
      show(label.element, shown);
      label.text.setAttribute("x", placed.across);
      label.text.setAttribute("text-anchor", placed.side);
      if (shown) boxes.push(box);
      if (shown && cut) moved.push(box);
    }
    const corners = [[right - 16 * size, bottom - 24 * size], [x + 260 * size, bottom - 24 * size], [x + 260 * size, y + 32 * size]]
      .map(([end, foot]) => [end - 214 * size, foot - 26 * size, end, foot + 4 * size]);
    const bar = corners.find(free) ?? corners[0];  // the scale
    const [shape, own] = [map.getBoundingClientRect(), buttons.getBoundingClientRect()];
    const [left, top] = [x + (own.left - shape.left) * k * unit(), y + (own.top - shape.top) * k * unit()];
    const kept = [...moved, bar, [left, top, left + own.width * k * unit(), top + own.height * k * unit()]];
    boxes.push(...kept);
    for (const town of towns) {
      const box = place(town, town.point);
      const shown = town.level <= level && box[0] > x + strip * size && box[1] > y && box[2] < right
        && box[3] < bottom - 20 * size && !kept.some((one) => overlap(one, box));
      show(town.element, shown);
      if (!shown) continue;
      town.element.setAttribute("transform", `translate(${town.point[0]} ${town.point[1]}) scale(${size})`);
      boxes.push(box);
    }
    degrees.forEach((label, n) => {
      const meridian = label.classList.contains("meridian");
      const point = crossing(lines[n], meridian ? 1 : 0, meridian ? bottom - 6 * size : x + 4 * size);
      const half = 3.3 * label.textContent.length * size;
      const box = point && (meridian
        ? [point[0] - half, point[1] - 10 * size, point[0] + half, point[1] + 3 * size]
        : [point[0], point[1] - 7 * size, point[0] + 2 * half, point[1] + 7 * size]);
      // The corner is the meridians'.
      const shown = point && free(box)
        && (meridian ? box[0] > x && box[2] < right : box[1] > y && point[1] < bottom - 20 * size);
      show(label, shown);
      if (shown) boxes.push(box);
      if (point) label.setAttribute("transform", `translate(${point[0]} ${point[1]}) scale(${size})`);
    });
    const most = 200 * metres * size, power = 10 ** Math.floor(Math.log10(most));
    const length = [5, 2, 1].map((factor) => factor * power).find((one) => one <= most);
    const round = Number(length.toPrecision(1));
    scale.querySelector("path").setAttribute("d", `M0 -5V0H-${length / metres / size}V-5`);
    scale.querySelector("text").textContent = round >= 1000 ? `${round / 1000} km` : `${round} m`;
    scale.setAttribute("transform", `translate(${bar[2] - 4 * size} ${bar[3] - 4 * size}) scale(${size})`);
  }
  function within() {  // the map ends half a width and half a height beyond each side
    x = Math.min(Math.max(x, -width / 2), width * (1.5 - k));
    y = Math.min(Math.max(y, -height / 2), height * (1.5 - k));
    draw();
  }
  function zoom(factor, px = width / 2, py = height / 2) {
    const next = Math.min(2, Math.max(1e-4, k * factor));
    x += px * (k - next);
    y += py * (k - next);
    k = next;
    within();
  }
  function reset() { x = 0; y = 0; k = 1; draw(); }
  function pan(dx, dy) { x += dx * k; y += dy * k; within(); }

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
    if (!(event.buttons & 1)) return;
    if (!map.hasPointerCapture(event.pointerId)) map.setPointerCapture(event.pointerId);
    pan(-event.movementX * unit(), -event.movementY * unit());
  });
  map.addEventListener("dblclick", () => zoom(0.5));

  const said = document.createElement("output");
  said.className = "said";
  const tell = (event) => {
    const title = event.target.closest?.(".mark, .region, .line")?.querySelector("title");
    if (title) said.textContent = title.textContent;
  };
  map.addEventListener("pointerover", tell);
  map.addEventListener("focusin", tell);
  map.addEventListener("click", tell);

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
  map.after(buttons, said);
  new ResizeObserver(draw).observe(map);
}
