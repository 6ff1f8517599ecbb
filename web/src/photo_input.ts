// Photos come in: dropped, pasted, chosen or taken; several wait in a queue.

import { button, el, fill } from "./dom";
import { words } from "./strings";

export interface Queued {
  file: File;
  /** Address of its picture in this browser. */
  url: string;
  state: "waiting" | "asking" | "answered" | "failed";
  note: string;
}

export class PhotoInput {
  readonly element = el("section", { class: "input" });
  private readonly list = el("ol", { class: "queue", "aria-label": words.photos });

  /** `came` is told of files, `chosen` of one that is to be shown. */
  constructor(
    private readonly came: (files: File[]) => void,
    private readonly chosen: (photo: Queued) => void,
  ) {
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
      files,
      camera,
      this.list,
    );
    this.listen();
  }

  /** Whether photos are taken. */
  enable(on: boolean): void {
    this.element.classList.toggle("off", !on);
    for (const each of this.element.querySelectorAll("button")) each.disabled = !on;
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
            el("img", { src: photo.url, alt: "" }),
            el("span", { class: "name" }, photo.file.name),
            el("span", { class: "note" }, photo.note),
          ),
        ),
      ),
    );
  }

  private listen(): void {
    const holds = (event: DragEvent): boolean => event.dataTransfer?.types.includes("Files") ?? false;
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
    addEventListener("paste", (event) => this.take(event.clipboardData));
  }

  private take(data: DataTransfer | null): void {
    const files = [...(data?.files ?? [])];
    if (files.length > 0 && !this.element.classList.contains("off")) this.came(files);
  }
}
