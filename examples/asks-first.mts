/**
 * A tool that asks the person before it does what cannot be undone. The same code serves clients of both generations of
 * MCP, and any replica may take the answer.
 *
 *   npm install mcp-oidc-proxy zod
 *   cp node_modules/mcp-oidc-proxy/.env.example .env     # fill in what is empty
 *   node --env-file=.env asks-first.mts                   # before Node 22.18: npx tsx --env-file=.env asks-first.mts
 */
import { acceptedContent, defineTool, elicit, inputRequired, loadConfig, serve } from "mcp-oidc-proxy";
import { z } from "zod";

const Sure = z.object({ sure: z.boolean() });

const deleteNote = defineTool({
  name: "delete_note",
  description: "Deletes a note, if the person is sure",
  scopes: ["notes:read"],
  input: z.object({ note: z.string() }),
  run({ note }, call) {
    const answer = acceptedContent(call.inputResponses, "sure", Sure);
    // Without `state`, a client could send an answer without having been asked.
    if (answer === undefined || call.state !== "asked") {
      const sure = elicit({ message: `Delete ${note}?`, requestedSchema: Sure });
      return inputRequired({ inputRequests: { sure }, state: "asked" });
    }
    return answer.sure ? `${note} is gone.` : `${note} was kept.`;
  },
});

await serve(loadConfig(process.env), {
  tools: [deleteNote],
  scopes: { "notes:read": "See and delete your notes" },
});
