/** How every page looks: one style for all, light and dark, from a small phone up. No image, no font, no request. */
import type { Brand } from "./brand.ts";

/** The configured colour replaces the accent; what stands on it is black or white, whichever is easier to read. */
export function styleOf({ color }: Brand): string {
  if (color === undefined) return STYLE;
  return `${STYLE}:root { --brand: ${color}; --on-brand: ${inkOn(color)} }\n`;
}

/** Black or white, whichever is easier to read on `#rrggbb`. */
export function inkOn(color: string): string {
  return luminance(color) > 0.179 ? "#000" : "#fff";
}

export const DEFAULT_COLOR = "#1f5fd6";

/** Relative luminance (WCAG 2.2); above 0.179 black has more contrast than white. */
function luminance(color: string): number {
  const [red = 0, green = 0, blue = 0] = [1, 3, 5]
    .map((at) => Number.parseInt(color.slice(at, at + 2), 16) / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

const STYLE = `
:root { color-scheme: light dark; --text: #1a1c20; --soft: #565b66; --line: #d9dce3; --edge: #8b919d; --back: #f5f6f8; --card: #fff; --accent: ${DEFAULT_COLOR}; --brand: ${DEFAULT_COLOR}; --on-brand: #fff; --warn: #8a4b00; --warn-back: #fff4e0 }
@media (prefers-color-scheme: dark) { :root { --text: #eceef2; --soft: #a9afbb; --line: #3a3f49; --edge: #767d8a; --back: #14161a; --card: #1d2026; --accent: #8ab4ff; --brand: #8ab4ff; --on-brand: #10131a; --warn: #ffd18a; --warn-back: #3a2c12 } }
* { box-sizing: border-box }
body { margin: 0; font: 16px/1.55 system-ui, sans-serif; color: var(--text); background: var(--back); -webkit-text-size-adjust: 100% }
main { max-width: 34rem; margin: 8vh auto; padding: 2rem; overflow-wrap: anywhere; background: var(--card); border: 1px solid var(--line); border-radius: 14px }
main.wide { max-width: 60rem; margin: 2rem auto; padding: 1.6rem 2rem }
main.home { max-width: 48rem; margin: 4rem auto; padding: 3rem }
@media (max-width: 50rem) { main.home { margin: 0 auto; border: 0; border-radius: 0; padding: 2.5rem 1.5rem } }
@media (max-width: 38rem) { main, main.wide, main.home { margin: 0; min-height: 100vh; border: 0; border-radius: 0; padding: 1.5rem 1.15rem } }

.brand { display: flex; align-items: center; gap: .6rem; margin: 0 0 1.5rem; font-weight: 600; color: var(--soft) }
.badge { flex: none; display: grid; place-items: center; width: 1.9rem; height: 1.9rem; border-radius: 8px; background: var(--brand); color: var(--on-brand); font-weight: 700 }
.logo { display: block; max-height: 2.4rem; max-width: 10rem }
.home .badge { width: 3rem; height: 3rem; border-radius: 12px; font-size: 1.5rem }
.home .logo { max-height: 3.5rem; max-width: 14rem }
h1 { font-size: 1.35rem; line-height: 1.3; margin: 0 0 1rem }
.home h1 { font-size: clamp(1.75rem, 1.2rem + 2.4vw, 2.5rem); line-height: 1.15; letter-spacing: -.02em; margin: 0 0 .75rem }
h2 { font-size: 1rem; margin: 1.5rem 0 .4rem }
.home h2 { font-size: 1.35rem; line-height: 1.3; letter-spacing: -.01em; margin: 3rem 0 .5rem }
h3 { font-size: 1rem; line-height: 1.4; margin: 0 }
p { margin: .6rem 0 }
.lead { font-size: 1.15rem; line-height: 1.5; color: var(--soft); max-width: 36rem; margin: 0 0 1.75rem }
code, .address { font: .92em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace }
.soft { color: var(--soft) }
.codes p { margin: .3rem 0 }
.codes { font-size: .85rem; color: var(--soft); border-top: 1px solid var(--line); margin-top: 1.5rem; padding-top: .9rem }
.warn { color: var(--warn); background: var(--warn-back); border-radius: 8px; padding: .6rem .8rem }
a { color: var(--accent); text-underline-offset: .15em }

fieldset { border: 0; padding: 0; margin: 1.5rem 0 0; min-width: 0 }
legend { font-weight: 700; padding: 0; margin: 0 0 .4rem }
.remember { border-top: 1px solid var(--line); margin-top: .6rem; padding-top: .6rem }
.scope { display: flex; gap: .7rem; align-items: baseline; padding: .35rem 0 }
.scope input { accent-color: var(--accent); width: 1.1rem; height: 1.1rem; flex: none; align-self: center }
.buttons { display: flex; gap: .8rem; margin-top: 1.6rem }
button, .button, .back a { font: inherit; font-weight: 600; padding: .7rem 1rem; border-radius: 9px; border: 1px solid var(--edge); background: transparent; color: inherit; cursor: pointer }
.buttons button { flex: 1 }
button.main, .button, .back a { background: var(--brand); color: var(--on-brand); border-color: var(--brand) }
.button, .back a { display: inline-block; padding: .6rem 1.2rem; text-decoration: none }
.back { display: flex; flex-wrap: wrap; gap: .8rem; margin-top: 1.4rem }
.back a + a { background: transparent; color: inherit; border-color: var(--edge) }
button:hover, .button:hover, .back a:hover, .clients > label:hover { filter: brightness(.94) }
button:focus-visible, a:focus-visible, input:focus-visible, .clients > input:focus-visible + label { outline: 3px solid var(--accent); outline-offset: 2px }

.choices { list-style: none; padding: 0; margin: 1.2rem 0 }
.choices a { display: block; padding: .7rem 1rem; margin: .6rem 0; border: 1px solid var(--edge); border-radius: 9px; color: inherit; text-decoration: none }
.choices button { width: 100%; margin: .3rem 0; text-align: left }
.choices a:hover { border-color: var(--accent) }
.line { display: flex; flex-wrap: wrap; gap: .6rem }
.line input { font: inherit; flex: 1 1 12rem; min-width: 0; padding: .6rem .8rem; border: 1px solid var(--edge); border-radius: 9px; background: var(--card); color: inherit }

.snippet { margin: .9rem 0; border: 1px solid var(--line); border-radius: 10px; background: var(--back); display: grid; grid-template-columns: minmax(0, 1fr) auto; align-items: center; overflow: hidden }
.snippet figcaption { font-size: .85rem; color: var(--soft); padding: .5rem .9rem }
.snippet pre { grid-column: 1 / -1; margin: 0; padding: .75rem .9rem; border-top: 1px solid var(--line); white-space: pre-wrap }
.snippet code span { display: inline-block; max-width: 100% }
.snippet button { font-size: .85rem; padding: .25rem .7rem; margin: .3rem .4rem; border-radius: 7px; border-color: transparent; color: var(--accent) }
.snippet button:focus-visible { outline-offset: -3px }

.clients { position: relative; display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: .5rem; margin-top: 1rem }
@media (max-width: 38rem) { .clients { grid-template-columns: repeat(auto-fill, minmax(6.5rem, 1fr)); gap: .4rem; font-size: .88rem } .steps { font-size: 1rem } }
.clients legend, .clients > input, .unseen { position: absolute; width: 1px; height: 1px; margin: 0; overflow: hidden; clip-path: inset(50%); white-space: nowrap }
.clients > label { display: grid; place-items: center; text-align: center; line-height: 1.3; padding: .5rem .3rem; border: 1px solid var(--line); border-radius: 9px; background: var(--card); cursor: pointer }
.clients > input:checked + label { background: var(--brand); border-color: var(--brand); color: var(--on-brand) }
@media (forced-colors: active) { .clients > input:checked + label { forced-color-adjust: none; background: Highlight; color: HighlightText } }
.steps { order: 1; grid-column: 1 / -1; min-width: 0; display: none; margin-top: .75rem }
.clients > input:checked + label + .steps { display: block }
@media screen { .steps > h3 { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%) } }
@media print { .steps { display: block } }

.offers { list-style: none; padding: 0; margin: 0 }
.offers li { padding: 1rem 0; border-top: 1px solid var(--line) }
.offers li:first-child { border-top: 0 }
.offers p { margin: .15rem 0 0 }
.offers h3 { display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 .6rem }
.offers h3 code { font-weight: 400 }
.offers .needs { font-size: .9rem; color: var(--soft); margin-top: .4rem }
.needs strong { font-weight: 600 }
@media (min-width: 44rem) {
  .offers li { display: grid; grid-template: auto 1fr / minmax(0, 1fr) 15rem; gap: 0 2rem }
  .offers .needs { grid-area: 1 / 2 / 3; margin: 0 }
  .needs strong { display: block }
}

button.link { padding: 0; border: 0; border-radius: 2px; font-weight: 400; color: var(--accent); text-decoration: underline; text-align: left }
.wide .brand { margin-bottom: .9rem }
.wide h1 { margin-bottom: .4rem }
.account { display: flex; flex-wrap: wrap; align-items: baseline; gap: .1rem 1.4rem; margin-bottom: .8rem }
.account p { margin: 0 }
.done { background: var(--back); border-left: 4px solid var(--accent); border-radius: 8px; padding: .7rem .9rem; margin: 1rem 0 }
.none { padding: 1.6rem 1rem; text-align: center; border: 1px dashed var(--line); border-radius: 10px }
.entries, .sign-ins { list-style: none; padding: 0; margin: .8rem 0; line-height: 1.4 }
.entry, .sign-ins > li { display: grid; grid-template-columns: minmax(0, 1fr) 14rem 10rem; gap: 0 1.2rem; align-items: start; padding: .45rem 0; border-top: 1px solid var(--line) }
.sign-ins { padding-left: 1.2rem }
.sign-ins > li { grid-template-columns: minmax(0, 1fr) auto }
.entries p, .entry h2 { margin: 0 }
.entry p { font-size: .9rem }
.more { grid-column: 1 / -1; margin: .1rem 0 }
.end { margin: 0; text-align: right }
.end > summary { font-size: .93rem; padding: .1rem 0 }
.end button { margin-top: .3rem; padding: .35rem .7rem; font-size: .93rem; white-space: nowrap }
@media (max-width: 38rem) {
  .entry { grid-template-columns: minmax(0, 1fr) auto }
  .when { grid-area: 2 / 1 }
  .end { grid-area: 1 / 2 / 3 }
}
details.all { margin-top: .9rem }
summary { cursor: pointer; color: var(--accent); border-radius: 4px }
summary:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px }
`;
