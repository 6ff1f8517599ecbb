// Bundles the page into the folder that is named: node build.mjs FOLDER

import { copyFile, mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { basename } from "node:path";
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
  loader: { ".svg": "file" },
  assetNames: "[name]-[hash]",
  publicPath: "/assets",
  logLevel: "warning",
  metafile: true,
});

let [page, bytes] = [await readFile(here("index.html"), "utf8"), 0];
for (const [path, { entryPoint, imports }] of Object.entries(metafile.outputs)) {
  if (path.endsWith(".js")) bytes += gzipSync(await readFile(path)).length;
  const [name, stem, ending] = /([a-z-]+)-\w+(\.\w+)$/.exec(path) ?? [];
  if (entryPoint !== undefined || ending === ".svg") page = page.replace(`${stem}${ending}`, name);
  if (stem !== "page") continue;
  // What the page begins with is asked for at once, not after the page's own part is there.
  const begins = imports.filter(({ kind }) => kind === "import-statement");
  const links = begins.map((each) => `<link rel="modulepreload" href="/assets/${basename(each.path)}">`);
  page = page.replace("<script", `${links.join("\n    ")}\n    <script`);
}
await writeFile(`${folder}/index.html`, page);
await writeFile(`${folder}/assets/licences.txt`, await licences(Object.keys(metafile.inputs)));
await copyFile(here("node_modules/world-atlas/countries-50m.json"), `${folder}/data/countries.json`);
console.log(`page: ${Math.round(bytes / 1000)} kB of JavaScript, gzipped`);

/** The licences of the packages that these files are of, which must go where their code goes. */
async function licences(files) {
  const packages = new Set(["world-atlas"]);
  for (const file of files) {
    const found = /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(file);
    if (found) packages.add(found[1]);
  }
  const texts = [...packages].sort().map(async (name) => {
    const [folder, about] = [here(`node_modules/${name}`), here(`node_modules/${name}/package.json`)];
    const { version, license } = JSON.parse(await readFile(about, "utf8"));
    const file = (await readdir(folder)).find((each) => /^licen[cs]e/i.test(each));
    const text = file === undefined ? "" : await readFile(`${folder}/${file}`, "utf8");
    return `${name} ${version}, ${license}\n\n${text}`;
  });
  return (await Promise.all(texts)).join(`\n${"=".repeat(80)}\n`);
}
