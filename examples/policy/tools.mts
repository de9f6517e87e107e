/**
 * A module of tools, and beside it a policy: who may use them, beyond what they consented to. No code starts the server:
 * the package's command, or the container image, is pointed at this file.
 *
 *   npm install mcp-oidc-proxy zod
 *   POLICY_FILE=policy.yaml npx mcp-oidc-proxy --tools tools.mts     # .env as in ../minimal.mts; tools.mjs before Node 22.18
 *
 * Why may Bob not delete a page? The server's own decision, the rule and its line:
 *
 *   POLICY_FILE=policy.yaml TOOLS_MODULE=tools.mts \
 *     npx mcp-oidc-proxy admin policy explain --user bob --tool delete_page
 */
import { defineTool, getAccessToken } from "mcp-oidc-proxy";
import { z } from "zod";

export const scopes = {
  "wiki:read": "Read the wiki",
  "wiki:write": "Change the wiki",
};

const readPage = defineTool({
  name: "read_page",
  description: "Reads a page of the wiki",
  scopes: ["wiki:read"],
  input: z.object({ title: z.string() }),
  run: ({ title }) => `${title}: this page is empty.`,
});

const deletePage = defineTool({
  name: "delete_page",
  description: "Deletes a page of the wiki",
  scopes: ["wiki:write"],
  input: z.object({ title: z.string() }),
  run: ({ title }) => `${getAccessToken().subject} deleted ${title}.`,
});

export const tools = [readPage, deletePage];
