"use strict";

// The opacity of the re-render over the photo.
(() => {
  const slider = document.getElementById("opacity");
  if (!slider) return;
  const overlay = document.getElementById("overlay");
  const shown = document.getElementById("opacity-value");
  const apply = () => {
    overlay.style.opacity = slider.value / 100;
    shown.textContent = `${slider.value} %`;
  };
  slider.addEventListener("input", apply);
  apply();
})();

// On paper every detail is open; afterwards the page is as it was.
(() => {
  let opened = [];
  const open = () => {
    const closed = [...document.querySelectorAll("details:not([open])")];
    for (const details of closed) details.open = true;
    opened.push(...closed);
  };
  const close = () => {
    for (const details of opened) details.open = false;
    opened = [];
  };
  addEventListener("beforeprint", open);
  addEventListener("afterprint", close);
  matchMedia("print").addEventListener("change", (event) => (event.matches ? open() : close()));
})();

// The 3D view.
(() => {
  const viewer = document.getElementById("viewer");
  if (!viewer) return;
  const scene = JSON.parse(document.getElementById("viewer-data").textContent);
  const state = document.getElementById("viewer-state");
  const buttons = {
    photo: document.getElementById("photo-view"),
    turned: document.getElementById("turned-view"),
  };
  const halfFov = scene.fovYRad / 2;
  // Half of the smaller angle: a sphere seen under it fits the box both ways.
  const halfView = Math.min(halfFov, Math.atan(Math.tan(halfFov) * scene.aspect));
  const sceneDistance = Math.hypot(...scene.centre);
  // The sphere around a box is larger than what is in it, so it may stick out a little.
  const around = (radius) => (0.85 * radius) / Math.sin(halfView);
  // It also sets the far plane (2 x), and the near plane at a thousandth of that.
  const farthest = 1.5 * Math.max(around(scene.radius), sceneDistance + scene.radius);
  const degrees = Math.PI / 180;

  const look = (target, theta, phi, radius) => {
    viewer.cameraTarget = target.map((value) => `${value.toFixed(9)}m`).join(" ");
    viewer.cameraOrbit = `${theta}rad ${phi}rad ${radius.toFixed(9)}m`;
  };
  const press = (name) => {
    for (const [key, button] of Object.entries(buttons)) {
      button.setAttribute("aria-pressed", String(key === name));
    }
  };

  // The viewer widens a wished field of view so that the model stays in sight at every turn, by
  // the ratio of the model's ideal aspect to the box's. The wish is narrowed by as much beforehand.
  const setFieldOfView = async () => {
    const box = viewer.getBoundingClientRect();
    const widening = Math.max(1, viewer.getIdealAspect() / (box.width / box.height));
    const wish = 2 * Math.atan(Math.tan(halfFov) / widening);
    viewer.minFieldOfView = `${wish / 30}rad`;
    viewer.maxFieldOfView = `${wish}rad`;
    await viewer.updateComplete;
    viewer.fieldOfView = `${wish}rad`;
    await viewer.updateComplete;
  };

  // The photo's camera stands at the origin and looks along -z: so does one that orbits a point
  // straight ahead of it, level with it, at that point's distance.
  const showPhotoView = async () => {
    const ahead = Math.max(-scene.centre[2], 1e-6);
    look([0, 0, -ahead], 0, Math.PI / 2, ahead);
    await setFieldOfView();
    viewer.jumpCameraToGoal();
    press("photo");
  };
  const showTurnedView = async () => {
    look(scene.centre, 35 * degrees, 62 * degrees, around(scene.radius));
    await setFieldOfView();
    press("turned");
  };
  const showObject = async (number) => {
    const { centre, radius } = scene.objects[number];
    const { theta, phi } = viewer.getCameraOrbit();
    look(centre, theta, phi, 1.4 * around(radius));
    await setFieldOfView();
    press("");
  };

  const model = () => {
    const text = atob(document.getElementById("viewer-model").textContent);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
    return URL.createObjectURL(new Blob([bytes], { type: "model/gltf-binary" }));
  };

  viewer.addEventListener("load", async () => {
    await showPhotoView();
    state.hidden = true;
    viewer.dataset.ready = "yes";
  });
  viewer.addEventListener("error", () => {
    state.textContent = "This browser cannot show the 3D view (it needs WebGL). Open scene.glb in another viewer.";
  });
  viewer.addEventListener("camera-change", (event) => {
    if (event.detail.source === "user-interaction") press("");
  });
  buttons.photo.addEventListener("click", showPhotoView);
  buttons.turned.addEventListener("click", showTurnedView);
  for (const button of document.querySelectorAll("[data-object]")) {
    button.addEventListener("click", () => showObject(button.dataset.object));
  }

  // The page is readable at once; the model is unpacked when its view comes near.
  const start = () => {
    viewer.minCameraOrbit = `auto auto ${(scene.radius / 1000).toFixed(9)}m`;
    viewer.maxCameraOrbit = `auto auto ${farthest.toFixed(9)}m`;
    viewer.maxFieldOfView = "175deg";
    look([0, 0, scene.centre[2]], 0, Math.PI / 2, Math.max(-scene.centre[2], 1e-6));
    viewer.src = model();
  };
  const watch = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) {
      watch.disconnect();
      start();
    }
  }, { rootMargin: "400px" });
  watch.observe(viewer);
})();
