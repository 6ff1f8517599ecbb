// Bundles the page into the folder that is named: node build.mjs FOLDER

import { copyFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import * as esbuild from "esbuild";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const folder = process.argv[2];
const maplibre = here("node_modules/maplibre-gl/src");

await rm(`${folder}/assets`, { recursive: true, force: true });
await mkdir(`${folder}/data`, { recursive: true });
// MapLibre from its source: page and worker then share one chunk, where its own bundles have all
// that both need twice, which is a quarter of the page's code.
const { metafile } = await esbuild.build({
  entryPoints: {
    page: here("src/main.ts"),
    style: here("src/page.css"),
    worker: `${maplibre}/source/worker.ts`,
  },
  alias: { "maplibre-gl": `${maplibre}/index.ts` },
  outdir: `${folder}/assets`,
  entryNames: "[name]-[hash]",
  chunkNames: "[name]-[hash]",
  bundle: true,
  splitting: true,
  format: "esm",
  minify: true,
  target: "es2022",
  // MapLibre's classes declare again what their bases have set.
  tsconfigRaw: { compilerOptions: { useDefineForClassFields: false } },
  legalComments: "linked",
  logLevel: "warning",
  metafile: true,
});

let [page, bytes] = [await readFile(here("index.html"), "utf8"), 0];
for (const [path, { entryPoint }] of Object.entries(metafile.outputs)) {
  const name = path.slice(path.lastIndexOf("/") + 1);
  if (path.endsWith(".js")) bytes += gzipSync(await readFile(path)).length;
  if (entryPoint !== undefined) page = page.replace(name.replace(/-\w+\./, "."), name);
}
await writeFile(`${folder}/index.html`, page);
await copyFile(here("src/icon.svg"), `${folder}/data/icon.svg`);
await copyFile(here("node_modules/world-atlas/countries-50m.json"), `${folder}/data/countries.json`);
console.log(`page: ${Math.round(bytes / 1000)} kB of JavaScript, gzipped`);
