/** How to connect, as plain text: for a terminal. */
import type { ConnectGuide, Sentence } from "./connect.ts";

/** One paragraph a client, what is to be copied on a line of its own. */
export function connectText(guides: readonly ConnectGuide[]): string {
  return guides
    .map(({ client, link, steps }) => {
      const lines = steps.map((step) => (typeof step === "string" ? plain(step) : snippetLine(step)));
      // Terminals open no other links than those of the web.
      const web = link?.href.startsWith("https:") ? [`${link.words}: ${link.href}`] : [];
      return [`  ${client}`, ...[...web, ...lines].map((line) => `    ${line}`)].join("\n");
    })
    .join("\n\n");
}

function snippetLine({ place, text }: { place: string; text: string }): string {
  return place === "Terminal" ? text : `${place}:  ${oneLine(text)}`;
}

/** Indented JSON on one line: `{ "a": 1 }`. */
export function oneLine(text: string): string {
  return text.replace(/\n\s*/g, " ");
}

function plain(sentence: Sentence): string {
  return sentence.replace(/\[([^[\]]+)\]\(([^()]+)\)/g, "$1 ($2)").replace(/[`*]/g, "");
}
