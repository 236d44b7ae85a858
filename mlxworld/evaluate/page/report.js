// A card's two films run together; the sound of one of them is heard. Films stop when another card plays.
for (const card of document.querySelectorAll(".clip")) {
  const films = [...card.querySelectorAll("video")];
  const [play, ...sounds] = card.querySelectorAll("button");
  const lines = [...card.querySelectorAll(".mel i")];
  const state = card.querySelector(".state");
  const begins = Number(card.dataset.context);
  const rate = Number(card.dataset.fps);

  const show = () => {
    const [film] = films;
    const share = film.duration ? film.currentTime / film.duration : 0;
    lines.forEach((line) => { line.style.left = `${100 * share}%`; });
    const frame = Math.round(film.currentTime * rate);
    const dreaming = frame >= begins;
    state.textContent = dreaming ? `dreaming, frame ${frame - begins + 1}` : `watching, frame ${frame + 1} of ${begins}`;
    state.classList.toggle("dreaming", dreaming);
    play.textContent = film.paused ? "Play" : "Pause";
    if (!film.paused) {
      if (Math.abs(films[1].currentTime - film.currentTime) > 0.08) films[1].currentTime = film.currentTime;
      requestAnimationFrame(show);
    }
  };
  const start = () => {
    document.querySelectorAll("video").forEach((other) => { if (!films.includes(other)) other.pause(); });
    films.forEach((film) => film.play());
  };
  play.addEventListener("click", () => (films[0].paused ? start() : films.forEach((film) => film.pause())));
  films.forEach((film) => film.addEventListener("click", () => play.click()));
  films[0].addEventListener("play", show);
  films[0].addEventListener("pause", show);
  films[0].addEventListener("seeked", show);
  sounds.forEach((button, k) => button.addEventListener("click", () => {
    sounds.forEach((other, j) => other.setAttribute("aria-pressed", String(j === k)));
    films.forEach((film, j) => { film.muted = j !== k; });
  }));
  card.querySelectorAll(".mel").forEach((mel) => mel.addEventListener("click", (event) => {
    const box = mel.getBoundingClientRect();
    films.forEach((film) => { film.currentTime = film.duration * (event.clientX - box.left) / box.width; });
  }));
  films[0].addEventListener("loadedmetadata", show);
  show();
}
