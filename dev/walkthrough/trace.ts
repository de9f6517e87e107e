/** What the walkthrough prints: numbered steps, what was sent, what came, what was learned. No secret in full length. */
import { styleText } from "node:util";

/** A step that did not go as the specifications say: what was expected, what came, and what to do. */
export class StepFailure extends Error {
  override readonly name = "StepFailure";
  readonly expected: string;
  readonly came: string;
  readonly hint: string;

  constructor({ expected, came, hint }: { expected: string; came: string; hint: string }) {
    super(`expected ${expected}, got ${came}`);
    this.expected = expected;
    this.came = came;
    this.hint = hint;
  }
}

/** @throws StepFailure if `condition` does not hold */
export function expect(
  condition: boolean,
  failure: { expected: string; came: string; hint: string },
): asserts condition {
  if (!condition) throw new StepFailure(failure);
}

export interface Trace {
  step(title: string): void;
  request(method: string, url: string, parameters?: Readonly<Record<string, string>>): void;
  answer(status: string, parameters?: Readonly<Record<string, string>>): void;
  /** One request of the browser, in one line. */
  browsed(method: string, url: string, outcome: string): void;
  learned(text: string): void;
  /** Not as the specifications recommend, but no reason to stop. */
  remark(text: string): void;
  /** Text as it is: nothing is shortened, because a person has to copy it. */
  show(text: string): void;
  /** From now on `value` is printed shortened, wherever it turns up. */
  keepSecret(value: string): void;
  failed(error: unknown): void;
  succeeded(): void;
}

type Style = Parameters<typeof styleText>[0];

// Shorter values are no secrets, and hiding them would black out ordinary words.
const SECRET_LENGTH = 16;

export function createTrace(print: (line: string) => void, complain: typeof print, colour: boolean): Trace {
  const secrets = new Set<string>();
  let number = 0;
  let title = "";

  const paint = (style: Style, text: string) => (colour ? styleText(style, text) : text);

  function conceal(text: string): string {
    return [...secrets].reduce((rest, secret) => rest.replaceAll(secret, shorten(secret)), text);
  }

  function list(parameters: Readonly<Record<string, string>>): void {
    const width = Math.max(...Object.keys(parameters).map((name) => name.length));
    for (const [name, value] of Object.entries(parameters))
      print(`         ${paint("dim", name.padEnd(width))}  ${conceal(value)}`);
  }

  return {
    step(text) {
      number += 1;
      title = text;
      print(`\n${paint("bold", `${String(number).padStart(2)}. ${text}`)}`);
    },
    request(method, url, parameters = {}) {
      print(`    ${paint("cyan", method)} ${conceal(url)}`);
      list(parameters);
    },
    answer(status, parameters = {}) {
      print(`    ${paint("cyan", "←")} ${conceal(status)}`);
      list(parameters);
    },
    browsed(method, url, outcome) {
      print(
        `      ${paint("dim", "·")} ${method.padEnd(4)} ${conceal(url)} ${paint("cyan", "←")} ${outcome}`,
      );
    },
    learned(text) {
      print(`    ${paint("green", "→")} ${conceal(text)}`);
    },
    remark(text) {
      print(`    ${paint("yellow", "!")} ${conceal(text)}`);
    },
    show: (text) => print(text),
    keepSecret(value) {
      if (value.length >= SECRET_LENGTH) secrets.add(value);
    },
    failed(error) {
      const { expected, came, hint } = error instanceof StepFailure ? error : unforeseen(error);
      const where = number === 0 ? "The walkthrough cannot start" : `Hop ${number} failed: ${title}`;
      complain(`\n${paint("red", `✗ ${where}`)}`);
      complain(`    expected  ${conceal(expected)}`);
      complain(`    came      ${conceal(came)}`);
      complain(`    hint      ${conceal(hint)}`);
    },
    succeeded() {
      print(`\n${paint("green", `✓ All ${number} hops succeeded.`)}`);
    },
  };
}

function unforeseen(error: unknown): { expected: string; came: string; hint: string } {
  return {
    expected: "an answer that the walkthrough understands",
    came: error instanceof Error ? error.message : String(error),
    hint: "This is a mistake of the walkthrough itself: please report it with the lines above.",
  };
}

/** The last characters too, where plenty stay hidden: tokens of one grant begin alike. */
function shorten(secret: string): string {
  return `${secret.slice(0, 10)}…${secret.length >= 40 ? secret.slice(-4) : ""}`;
}
