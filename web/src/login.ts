// Who one is: a role of the database and its password.

import * as api from "./api";
import { el, fill } from "./dom";
import { words } from "./strings";

export function loginForm(entered: (session: api.Session) => void): HTMLElement {
  const role = el("input", { name: "username", autocomplete: "username", required: true });
  const password = el("input", {
    name: "password",
    type: "password",
    autocomplete: "current-password",
    required: true,
  });
  const said = el("p", { class: "problem", role: "alert" });
  const go = el("button", { class: "main" }, words.logIn);
  const enter = async (): Promise<void> => {
    go.disabled = true;
    try {
      entered(await api.logIn(role.value, password.value));
    } catch (error) {
      const refusal = error instanceof api.Refusal ? error : null;
      fill(said, refusal?.status === 401 ? words.wrongLogin : (refusal?.detail ?? words.wentWrong));
      password.value = "";
      password.focus();
    } finally {
      go.disabled = false;
    }
  };
  return el(
    "form",
    {
      class: "login",
      onsubmit: (event: Event) => {
        event.preventDefault();
        void enter();
      },
    },
    el("h1", {}, words.logIn),
    el("label", {}, words.role, role),
    el("label", {}, words.password, password),
    go,
    said,
  );
}
