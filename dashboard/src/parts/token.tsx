// Asks for the token of a server that wants one; every request that waits goes on with the answer.

import { useEffect, useRef, useState } from "preact/hooks";

import { ApiError, onTokenNeeded } from "../api/client";

interface Question {
  refused: boolean;
  answer: (token: string) => void;
  giveUp: (reason: Error) => void;
}

export function TokenDialog() {
  const [question, setQuestion] = useState<Question | null>(null);
  const dialog = useRef<HTMLDialogElement>(null);

  useEffect(() => {
    onTokenNeeded(
      (refused) =>
        new Promise((answer, giveUp) => {
          setQuestion({ refused, answer, giveUp });
        }),
    );
  }, []);
  useEffect(() => {
    if (question) dialog.current?.showModal();
  }, [question]);

  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const token = String(form.get("token") ?? "").trim();
    if (token === "") return;
    dialog.current?.close();
    question?.answer(token);
    setQuestion(null);
  };
  const cancel = () => {
    const problem = {
      title: "A token is needed",
      status: 401,
      detail: "The server shows nothing without one.",
    };
    question?.giveUp(new ApiError(problem));
    setQuestion(null);
  };
  return (
    <dialog ref={dialog} aria-labelledby="token-title" onCancel={cancel}>
      {question && (
        <form onSubmit={submit}>
          <h2 id="token-title">This server asks for a token</h2>
          {question.refused && (
            <p class="bad" role="alert">
              The token was refused.
            </p>
          )}
          <label>
            Token
            <input name="token" type="password" autocomplete="off" required autofocus />
          </label>
          <p class="hint">It is kept until this tab is closed, and sent to this server only.</p>
          <div class="buttons">
            <button
              type="button"
              onClick={() => {
                dialog.current?.close();
                cancel();
              }}
            >
              Cancel
            </button>
            <button type="submit" class="primary">
              Continue
            </button>
          </div>
        </form>
      )}
    </dialog>
  );
}
