/** An operator's file, as it is written for them. */
import { Document, isMap, isScalar } from "yaml";
import type { Path } from "./yaml-text.ts";

/** What stands above a key. */
export interface YamlComment {
  readonly above: Path;
  /** One line. */
  readonly text: string;
}

/** Strangers' names become quoted text, so that none is read as anything else. */
export function writeYaml(value: unknown, comments: readonly YamlComment[] = []): string {
  const document = new Document(value, { aliasDuplicateObjects: false });
  for (const { above, text } of comments) {
    const map = document.getIn(above.slice(0, -1), true);
    const key = isMap(map)
      ? map.items.find(({ key }) => isScalar(key) && key.value === above.at(-1))?.key
      : undefined;
    if (isScalar(key)) key.commentBefore = ` ${text}`;
  }
  return document.toString({ lineWidth: 0 });
}
