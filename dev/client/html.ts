/** Reads forms, links and text of a server-rendered page the way a browser does. For tidy HTML only. */

interface Control {
  name: string;
  value: string;
}

interface Button extends Control {
  label: string;
}

export interface HtmlForm {
  action: string;
  method: string;
  /** What would be sent: hidden and text inputs with their values, ticked boxes; nothing that is disabled. */
  inputs: Control[];
  /** Every control's name, ticked or not. */
  names: string[];
  buttons: Button[];
}

export function findForms(html: string): HtmlForm[] {
  return [...html.matchAll(/<form\b([^>]*)>(.*?)<\/form>/gis)].map(([, tag = "", content = ""]) => {
    const form = attributesOf(tag);
    return {
      action: form.get("action") ?? "",
      method: (form.get("method") ?? "get").toUpperCase(),
      inputs: inputsOf(content),
      names: [...content.matchAll(/\bname="([^"]+)"/g)].map(([, name = ""]) => name),
      buttons: buttonsOf(content),
    };
  });
}

export function hasField(form: HtmlForm, name: string): boolean {
  return form.names.includes(name);
}

/** Where the first link with that text leads, as the page has it. */
export function findLink(html: string, text: string): string | undefined {
  const links = [...html.matchAll(/<a\b([^>]*)>(.*?)<\/a>/gis)];
  const [, tag] = links.find(([, , label = ""]) => unescapeEntities(label) === text) ?? [];
  return tag === undefined ? undefined : attributesOf(tag).get("href");
}

export function titleOf(html: string): string {
  return unescapeEntities(/<title>(.*?)<\/title>/is.exec(html)?.[1] ?? "").trim();
}

/** What a person reads of a page. */
export function textOf(html: string): string {
  const text = html.replaceAll(/<(head|style|script)\b.*?<\/\1>/gis, " ").replaceAll(/<[^>]*>/g, " ");
  return unescapeEntities(text).replaceAll(/\s+/g, " ").trim();
}

function inputsOf(content: string): Control[] {
  return [...content.matchAll(/<input\b([^>]*)>/gis)]
    .map(([, tag = ""]) => attributesOf(tag))
    .filter((input) => {
      const type = input.get("type") ?? "text";
      if (type === "submit" || input.has("disabled") || !input.get("name")) return false;
      return (type !== "checkbox" && type !== "radio") || input.has("checked");
    })
    .map((input) => ({ name: input.get("name") ?? "", value: input.get("value") ?? "" }));
}

function buttonsOf(content: string): Button[] {
  const buttons = [...content.matchAll(/<button\b([^>]*)>(.*?)<\/button>/gis)].map(
    ([, tag = "", label = ""]) => ({
      attributes: attributesOf(tag),
      label: unescapeEntities(label.replaceAll(/<[^>]*>/g, " "))
        .replaceAll(/\s+/g, " ")
        .trim(),
    }),
  );
  return buttons
    .filter(({ attributes }) => (attributes.get("type") ?? "submit") === "submit")
    .map(({ attributes, label }) => ({
      name: attributes.get("name") ?? "",
      value: attributes.get("value") ?? "",
      label,
    }));
}

function attributesOf(tag: string): Map<string, string> {
  const attributes = tag.matchAll(/([\w:.-]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+)))?/g);
  return new Map(
    [...attributes].map(([, name = "", double, single, bare]) => [
      name.toLowerCase(),
      unescapeEntities(double ?? single ?? bare ?? ""),
    ]),
  );
}

const entities: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: " " };

function unescapeEntities(text: string): string {
  return text.replaceAll(/&(?:#x([\da-f]+)|#(\d+)|(\w+));/gi, (whole, hex, decimal, name) => {
    if (hex) return String.fromCodePoint(Number.parseInt(hex, 16));
    if (decimal) return String.fromCodePoint(Number(decimal));
    return entities[name] ?? whole;
  });
}
