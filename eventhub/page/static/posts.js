// What people say. Their words are text and nothing else.

import { byId, el, perFrame } from "./dom.js";
import { minuteOf } from "./words.js";

const LANGUAGE = /^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$/;
const SHOWN = 60;

export class Posts {
  #list = byId("posts");
  #match = null;
  #next = 0;
  #changed = new Set();
  #nodes = new Map();
  draw = perFrame(() => this.#draw());

  show(match) {
    this.#match = match;
    this.#next = 0;
    this.#changed.clear();
    this.#nodes.clear();
    this.#list.replaceChildren();
    this.draw();
  }

  changed(post) {
    if (this.#nodes.has(post)) this.#changed.add(post);
    this.draw();
  }

  #draw() {
    if (this.#match === null) return;
    for (const post of this.#changed) {
      const made = this.#post(post);
      this.#nodes.get(post).replaceWith(made);
      this.#nodes.set(post, made);
    }
    this.#changed.clear();
    const { posts } = this.#match;
    for (const post of posts.slice(this.#next)) {
      const made = this.#post(post);
      this.#nodes.set(post, made);
      this.#list.prepend(made);
    }
    this.#next = posts.length;
    for (const [post, node] of this.#nodes) {
      if (this.#nodes.size <= SHOWN) break;
      node.remove();
      this.#nodes.delete(post);
    }
    byId("posts-empty").hidden = posts.length > 0;
  }

  #post({ event, translations }) {
    const { text, lang, author } = event.payload;
    return el(
      "li",
      { "data-event-id": event.event_id },
      this.#words(text, lang),
      ...translations.map((one) => this.#words(one.payload.text, one.payload.lang)),
      el("p", { class: "by" }, el("b", {}, String(author ?? "")), ` ${minuteOf(event.minute)}`),
    );
  }

  #words(text, lang) {
    return el("p", { class: "words", dir: "auto", lang: LANGUAGE.test(lang) ? lang : null }, String(text ?? ""));
  }
}
