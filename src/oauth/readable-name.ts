/** Cleans the name that a client or user gives itself, before people see it. */

/** Controls, format characters, private use and lone surrogates; and what is not drawn at all, whatever it is (UAX #44). */
const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;

const LINE_BREAKS = /[\t\n\v\f\r\u2028\u2029]/;

/** Blanks that are no spaces to Unicode: the empty Braille pattern, a note without a head. */
const BLANKS = /[\p{Zs}\s\u2800\u{1D159}]+/gu;

/** Something to see: a name of marks alone has nothing that they could mark. */
const VISIBLE = /[\p{L}\p{N}\p{P}\p{S}]/u;

// Hidden characters that change how their neighbours are read, kept where they do: joined emoji and their presentation, and
// the joiners of scripts that spell with them (UAX #31 §2.3). Anywhere else they only tell two equal looking names apart.
const EMOJI = String.raw`\p{Extended_Pictographic}\p{Emoji_Modifier}?\uFE0F?`;
const JOINING = String.raw`[\p{Script=Arabic}\p{Script=Syriac}\p{Script=Devanagari}\p{Script=Bengali}\p{Script=Gurmukhi}\p{Script=Gujarati}\p{Script=Oriya}\p{Script=Tamil}\p{Script=Telugu}\p{Script=Kannada}\p{Script=Malayalam}\p{Script=Sinhala}\p{Script=Khmer}\p{Script=Mongolian}]`;
const MEANT = new RegExp(
  [
    String.raw`(?<=${EMOJI})\u200D(?=\p{Extended_Pictographic})`,
    String.raw`(?<=[\p{Extended_Pictographic}#*0-9]\p{Emoji_Modifier}?)\uFE0F`,
    String.raw`(?<=${JOINING})[\u200C\u200D](?=${JOINING})`,
  ].join("|"),
  "gu",
);

/** Without characters that hide, reorder or fake what a person reads; nothing left to see counts as no name. */
export function readableName(name: string | undefined): string | undefined {
  if (name === undefined) return undefined;
  const meant = new Set([...name.matchAll(MEANT)].map(({ index }) => index));
  const shown = name
    .replace(HIDDEN, (hidden, index: number) => (meant.has(index) || LINE_BREAKS.test(hidden) ? hidden : ""))
    .replace(BLANKS, " ")
    .trim();
  return VISIBLE.test(shown) ? shown : undefined;
}
