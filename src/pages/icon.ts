/** The icon of browser tabs: the first letter of the server's name on the brand's colour. Nothing is read from a disk. */
import { Router } from "express";
import { html } from "hono/html";
import { refuseOtherMethods } from "../http/methods.ts";
import type { Brand } from "./brand.ts";
import { DEFAULT_COLOR, inkOn } from "./style.ts";

const SECONDS_KEPT = 86_400;

/** GET /icon.svg, and /favicon.ico for whatever asks there without having read a page. */
export function iconRoutes(brand: Brand): Router {
  const icon = iconOf(brand);
  const paths = ["/icon.svg", "/favicon.ico"];
  const router = Router();
  router.get(paths, async (_req, res) => {
    res
      .set("Cache-Control", `public, max-age=${SECONDS_KEPT}`)
      .type("svg")
      .send((await icon).toString());
  });
  router.all(paths, refuseOtherMethods("GET"));
  return router;
}

/** Colours are attributes: a style would need a place in the Content-Security-Policy. */
function iconOf({ name, color = DEFAULT_COLOR }: Brand) {
  return html`<svg xmlns="http://www.w3.org/2000/svg" width="32" height="32" viewBox="0 0 32 32">
<rect width="32" height="32" rx="8" fill="${color}"/>
<text x="16" y="23" text-anchor="middle" font-family="system-ui, sans-serif" font-size="20" font-weight="700" fill="${inkOn(color)}">${initialOf(name)}</text>
</svg>`;
}

/** The first letter of a name, in place of a logo. */
export function initialOf(name: string): string {
  const [first] = new Intl.Segmenter().segment(name);
  return first?.segment.toUpperCase() ?? "";
}
