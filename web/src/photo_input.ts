// Photos come in: dropped, pasted, chosen or taken; several wait in a queue.

import { button, el, fill } from "./dom";
import { words } from "./strings";

export interface Queued {
  name: string;
  /** What is uploaded; or the address that the server fetches it from. */
  file: File | null;
  address: string | null;
  /** Address of its picture in this browser, once there is one. */
  url: string | null;
  state: "waiting" | "asking" | "answered" | "failed";
  note: string;
}

export class PhotoInput {
  readonly element = el("section", { class: "input" });
  private readonly list = el("ol", { class: "queue", "aria-label": words.photos });

  /** Whether small pictures are kept with the answers: where nobody logs in, they are. */
  get keeps(): boolean {
    return this.keep?.checked ?? true;
  }

  private readonly keep: HTMLInputElement | null;

  /**
   * `came` is told of files and of addresses of photos, `chosen` of one that is to be shown; where
   * others may see the answers, `asks` whether pictures are kept with them.
   */
  constructor(
    private readonly came: (photos: (File | string)[]) => void,
    private readonly chosen: (photo: Queued) => void,
    asks: boolean,
  ) {
    this.keep = asks ? el("input", { type: "checkbox", id: "keep" }) : null;
    const address = el("input", {
      type: "url",
      id: "address",
      placeholder: words.address,
      "aria-label": words.address,
      required: true,
    });
    const form = el(
      "form",
      {
        class: "address drop",
        onsubmit: (event: Event) => {
          event.preventDefault();
          came([address.value]);
          address.value = "";
        },
      },
      address,
      el("button", {}, words.fetch),
    );
    const files = el("input", { type: "file", accept: "image/*", multiple: true, id: "files" });
    const camera = el("input", { type: "file", accept: "image/*", capture: "environment", id: "camera" });
    for (const input of [files, camera]) {
      input.hidden = true;
      input.addEventListener("change", () => {
        came([...(input.files ?? [])]);
        input.value = "";
      });
    }
    this.element.append(
      el("h1", { class: "drop" }, words.about),
      el("p", { class: "drop" }, words.drop),
      el(
        "div",
        { class: "actions" },
        button(words.choose, () => files.click(), { class: "main" }),
        button(words.camera, () => camera.click(), { class: "camera" }),
      ),
      form,
      ...(this.keep === null ? [] : [el("label", { class: "keep" }, this.keep, words.keep)]),
      files,
      camera,
      this.list,
    );
    this.listen();
  }

  show(queue: Queued[], current: Queued | null): void {
    fill(
      this.list,
      ...(queue.length < 2 ? [] : queue).map((photo) =>
        el(
          "li",
          { class: photo.state },
          el(
            "button",
            {
              type: "button",
              onclick: () => this.chosen(photo),
              "aria-current": photo === current && "true",
              disabled: photo.state === "waiting",
            },
            photo.url === null ? el("span", { class: "none" }) : el("img", { src: photo.url, alt: "" }),
            el("span", { class: "name" }, photo.name),
            el("span", { class: "note" }, photo.note),
          ),
        ),
      ),
    );
  }

  private listen(): void {
    const holds = (event: DragEvent): boolean =>
      ["Files", "text/uri-list"].some((kind) => event.dataTransfer?.types.includes(kind));
    const mark = (on: boolean): void => {
      document.body.classList.toggle("dropping", on);
    };
    addEventListener("dragover", (event) => {
      if (!holds(event)) return;
      event.preventDefault();
      mark(true);
    });
    addEventListener("dragleave", (event) => {
      if (event.relatedTarget === null) mark(false);
    });
    addEventListener("drop", (event) => {
      if (!holds(event)) return;
      event.preventDefault();
      mark(false);
      this.take(event.dataTransfer);
    });
    addEventListener("paste", (event) => {
      if (!(event.target instanceof HTMLInputElement)) this.take(event.clipboardData);
    });
  }

  private take(data: DataTransfer | null): void {
    const files = [...(data?.files ?? [])];
    if (files.length > 0) {
      this.came(files);
      return;
    }
    // A picture of another page comes as its address.
    const text = data?.getData("text/uri-list") || data?.getData("text/plain") || "";
    const address = text.split("\n").find((line) => /^https?:\/\//.test(line));
    if (address !== undefined) this.came([address.trim()]);
  }
}
