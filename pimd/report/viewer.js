// Unpacks chemiscope and its data set, and starts it when its place comes into view.
(() => {
  const place = document.getElementById("viewer");
  const say = (words) => { document.getElementById("viewer-state").textContent = words; };

  async function unpacked(id) {
    const packed = Uint8Array.from(atob(document.getElementById(id).textContent),
      (character) => character.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }

  async function start() {
    if (typeof DecompressionStream === "undefined") {
      throw new Error("this browser is too old to unpack the viewer");
    }
    const code = document.createElement("script");
    code.textContent = await unpacked("viewer-code");
    document.head.append(code);
    const data = JSON.parse(await unpacked("viewer-data"));
    const places = { meta: "viewer-meta", map: "viewer-map", structure: "viewer-structure",
      info: "viewer-info" };
    await Chemiscope.DefaultVisualizer.load(places, data);
  }

  function begin() {
    say("Unpacking the viewer …");
    start().then(
      () => { say(""); place.dataset.state = "ready"; },
      (error) => {
        say(`The viewer could not start: ${error.message}`);
        place.dataset.state = "failed";
      });
  }

  if (typeof IntersectionObserver === "undefined") { begin(); return; }
  const watch = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) { watch.disconnect(); begin(); }
  }, { rootMargin: "600px" });
  watch.observe(place);
})();
