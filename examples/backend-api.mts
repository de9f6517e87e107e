/**
 * A tool that calls an API in the user's name: with their own access token of the identity provider, which the MCP client
 * never sees. The API (backend.mts) decides by that token, as it does for every other application.
 *
 *   BACKEND_PORT=4000 node --env-file=.env backend.mts &
 *   BACKEND_PORT=4000 node --env-file=.env backend-api.mts     # .env as in minimal.mts, with OIDC_AUDIENCE or AUTH0_AUDIENCE
 */
import { defineTool, getUpstreamAccessToken, loadConfig, serve, ToolError } from "mcp-oidc-proxy";
import { z } from "zod";

const backend = `http://localhost:${process.env.BACKEND_PORT}`;

const listNotes = defineTool({
  name: "list_notes",
  description: "The notes of whoever is signed in",
  scopes: ["notes:read"],
  output: z.object({ owner: z.string(), notes: z.array(z.string()) }),
  async run(_input, { signal }) {
    // Fresh: it is renewed at the provider if it is about to end. Send it to the API that it is for, and nowhere else.
    const accessToken = await getUpstreamAccessToken();
    const answer = await fetch(`${backend}/notes`, {
      headers: { authorization: `Bearer ${accessToken}` },
      signal,
    });
    // A ToolError reaches the caller; any other error would only be in the log.
    if (!answer.ok) throw new ToolError(`The notes service answered ${answer.status}.`);
    return (await answer.json()) as { owner: string; notes: string[] };
  },
});

await serve(loadConfig(process.env), {
  tools: [listNotes],
  scopes: { "notes:read": "Read your notes" },
});
