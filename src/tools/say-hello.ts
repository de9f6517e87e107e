/** say_hello: the smallest tool there is. */
import { z } from "zod";
import { defineTool } from "../mcp/authoring/define-tool.ts";
import { getAccessToken } from "../resource/access-token-context.ts";

export const sayHello = defineTool({
  name: "say_hello",
  title: "Say hello",
  description: "Says hello to somebody, or to whoever is signed in",
  annotations: { readOnlyHint: true },
  // Strict: a misspelt argument is better refused than ignored.
  input: z.strictObject({ name: z.string().min(1).max(100).optional() }),
  run({ name }) {
    const { claims, subject } = getAccessToken();
    return `Hello, ${name ?? (typeof claims.name === "string" ? claims.name : subject)}!`;
  },
});
