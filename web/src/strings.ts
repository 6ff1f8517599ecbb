// Every word of the page, in English. Nothing else in web/src speaks to people.

import { area, bytes, distance, percent, threshold } from "./figures";

const count = (n: number, thing: string, things = `${thing}s`): string =>
  `${n.toLocaleString("en-GB")} ${n === 1 ? thing : things}`;

/** A probability as people say it; `2/3` of answers are seven in ten. */
function inTen(p: number): string {
  const tenths = Math.round(10 * p);
  if (tenths >= 10) return "Nearly always";
  if (tenths <= 0) return "Hardly ever";
  if (tenths === 5) return "Half the time";
  const words = ["", "One time", "Two times", "Three times", "Four times", "", "Six times"];
  return `${words[tenths] ?? ["Seven", "Eight", "Nine"][tenths - 7] + " times"} in ten`;
}

const pictures: Record<string, string> = {
  blank: "blank",
  smooth: "a smooth surface",
  noise: "noise",
  text: "mostly text",
  drawing: "a drawing",
};

export const words = {
  title: "geosearch",
  about: "Where was this photo taken?",
  answer: "Answer",
  explore: "Explore",
  skip: "Skip to the answer",
  theme: "Dark or light",
  logOut: (role: string) => `Log out ${role}`,
  close: "Close",

  // A photo comes in.
  drop: "Drop a photo here, paste it, or choose one.",
  noPhoto: "Explore the photos there are",
  samples: "No photo at hand? Try one of these, asked without itself.",
  sample: (name: string) => `Where was ${name} taken?`,
  address: "Address of a photo, https://…",
  fetch: "Ask",
  keep: "Keep a small picture with the answer, for all who may see it",
  choose: "Choose photos",
  camera: "Take a photo",
  photos: "Your photos",
  waiting: "waiting",
  asking: "Looking for photos like this one …",
  failedPhoto: (name: string) => `${name} could not be answered`,
  yourPhoto: (name: string) => `Your photo, ${name}`,
  photoAsked: (name: string) => `The photo that was asked about, ${name}`,
  noPicture: "The picture itself was not kept, only what the network saw in it.",
  noneThere: (name: string, why: string) => `${name}: ${why}.`,
  tooLarge: (name: string, size: number, most: number) =>
    `${name} has ${bytes(size)}. The most is ${bytes(most)}.`,
  notAPhoto: (name: string) => `${name} is not a photo that can be read.`,

  // The sentence.
  near: (place: string | null, position: string) => {
    if (place === null) return `At ${position}.`;
    return `${place.charAt(0).toUpperCase()}${place.slice(1)}.`;
  },
  oftenWithin: (p: number, km: number) =>
    `${inTen(p)} such an answer is within ${threshold(km)}.`,
  absent: "Probably not in these photos.",
  absentGuess: (place: string) => `What little is known points here: ${place}`,
  lowInformation: (kind: string) =>
    `The picture is ${pictures[kind] ?? kind}: it can hardly tell a place.`,
  agree: (agreement: number) =>
    `Neighbours agree: ${agreement >= 0.6 ? "strongly" : agreement >= 0.3 ? "partly" : "hardly"}.`,
  fits: {
    yes: "Photos like this one were checked: these figures hold for it.",
    widened: "This photo is unlike those that were checked, so its regions were widened.",
    no: "Answers like this one were not checked, so no probability is given.",
  },
  uncalibrated: "These photos are not calibrated, so no probability is given.",
  nothing: "No photo passes the filter.",
  emptied: (text: string, without: number) =>
    `Without “${text}”, ${count(without, "photo")} would.`,

  // Figures of the answer.
  within: "How far off such answers are",
  withinOf: (km: number, p: number) => `${percent(p)} within ${threshold(km)}`,
  upTo: (km: number) => `≤ ${threshold(km)}`,
  region: (level: number, km2: number) => `${percent(level)} region, ${area(km2)}`,
  regions: "Where it may be",
  places: "Other places",
  place: (rank: number, mass: number) => `Place ${rank}, ${percent(mass)} of the evidence`,
  percent,
  opacity: "Density",

  // How it was found.
  found: "How it was found",
  elapsed: (ms: number) => `${Math.round(ms).toLocaleString("en-GB")} ms`,
  elapsedPart: (name: string, ms: number) => `${name} ${ms.toFixed(0)} ms`,
  model: "Model",
  method: "Method",
  time: "Time",
  calibration: "Calibration",
  searched: "Search",
  strategies: {
    exact: "all matching photos were compared",
    ann: "by an index",
    leaves: "by indexes of parts",
  } as Record<string, string>,
  recall: "Recall",
  recallOf: (share: number) => `${(100 * share).toFixed(1)} % of the true neighbours`,
  rows: "Photos compared",
  filterWas: "Filter",
  recorded: "Recorded",
  position: "Position",
  unrecorded: "This is a changed question; the recorded answer stays as it is.",
  recordedAnswer: "Back to the recorded answer",
  reproduce: "Is it the same today?",
  same: "Computed again, it is the same.",
  moved: (km: number) => `Computed again, it is ${distance(km)} from here.`,
  changed: (changes: string) => `What changed: ${changes}`,
  take: "Take it with you",
  exports: {
    "estimates.geojson": "GeoJSON",
    "neighbours.kml": "KML",
    "project.qgz": "QGIS",
    "neighbours.sql": "SQL",
  } as Record<string, string>,

  // Guess, then reveal.
  reveal: "Reveal the photo's own position",
  noOwn: "The photo says nothing of where it was taken.",
  own: (km: number) => `The photo's own position is ${distance(km)} from the estimate.`,
  ownPosition: "The photo's own position",
  useOwn: "Use it",
  oursIsBetter: "Ours is better",
  usedOwn: "Noted: it was taken at its own position.",
  usedOurs: "Noted: it was taken at the estimate.",
  toReview: "Review all answers",

  // Neighbours.
  neighboursOf: "Neighbours, the nearest first",
  neighbour: (rank: number, weight: number) => `Neighbour ${rank}, weight ${percent(weight)}`,
  weight: "Weight",
  distance: "Distance",
  away: (km: number) => `${distance(km)} from the estimate`,
  author: "Author",
  licence: "Licence",
  taken: "Taken",
  collection: "Collection",
  kind: "Kind",
  leaveOut: "Leave it out",
  leaveOutAuthor: "Leave out its author",
  likeThis: "Photos like this",
  placeThis: "Place it without itself",
  compare: "Compared with your photo",
  noThumbnail: "no picture",
  ofGallery: "a place of a gallery, no photo",
  unknown: "not known",
  leftOut: (photos: number, authors: number) =>
    `Left out: ${[photos && count(photos, "photo"), authors && count(authors, "author")]
      .filter(Boolean)
      .join(" and ")}`,
  bringBack: "Bring them back",

  // Filters.
  filters: "Filter",
  clear: "Clear the filter",
  box: "Box",
  circle: "Circle",
  polygon: "Polygon",
  draw: "Draw on the map",
  drawing: {
    rectangle: "Click two corners of the box.",
    circle: "Click the middle, then the rim of the circle.",
    polygon: "Click the corners; a double click ends it.",
  } as Record<string, string>,
  areaOf: { bbox: "a box", near: "a circle", within: "a polygon" } as Record<string, string>,
  removeArea: "Remove the area",
  coordinates: "West, south, east, north",
  country: "Country",
  anyCountry: "any country",
  after: "From",
  before: "Until before",
  between: "Between",
  earliest: "Taken from",
  latest: "Taken until",
  days: (first: string, last: string) => `${first} – ${last}`,
  perSpan: (most: number) => `Photos by date; at most ${count(most, "photo")} in a part`,
  any: "any",
  passing: (n: number, of: number) => `${n.toLocaleString("en-GB")} of ${count(of, "photo")} pass`,

  // Explore.
  exploreHelp:
    "Click a photo or a group of photos; elsewhere, the map says what is near. Press long, or click with the right button, to see what looks like a place.",
  looksLike: "What looks like this place",
  looksLikeBy: (km: number) => `By the photo that is nearest to it, ${distance(km)} away.`,
  nearest: (name: string) => `The nearest: ${name}`,
  nearHere: (n: number, place: string | null) =>
    n === 0 ? "There are no photos near here." : `${count(n, "photo")} near here${place ? `, ${place}` : ""}`,
  nearestFirst: "The nearest first",
  similar: "Photos like this one",
  photo: (id: number) => `Photo ${id}`,

  // Review.
  review: "Review",
  order: "First",
  orders: {
    open: "what needs a person most",
    confidence: "the least agreement",
    error: "the largest error",
    latest: "the latest",
  },
  accept: "Accept",
  move: "Move the pin",
  reject: "Reject",
  unsure: "Unsure",
  undo: "Undo",
  key: (key: string) => `Key ${key}`,
  reviewKeys: "Keys: j k go, a m r s decide, u takes back, space makes the map large.",
  full: "Map large",
  many: "Accept many …",
  manyFrom: "Undecided, with an agreement of at least",
  manyCount: (n: number) => `${n.toLocaleString("en-GB")} of those listed`,
  manyAccept: (n: number) => `Accept ${count(n, "answer")}`,
  manyDone: (n: number) => `${count(n, "answer")} accepted`,
  cancel: "Leave it",
  reviewColumns: ["", "Photo", "Place", "Agreement", "Error", "Asked", "Decision"],
  decisions: { accept: "accepted", move: "moved", reject: "rejected", unsure: "unsure" },
  decided: (photo: string, decision: string) => `${photo}: ${decision}`,
  undone: (photo: string) => `${photo}: taken back`,
  latLon: "Latitude, longitude",
  pick: "Click where it was taken; Escape leaves it.",
  noAnswers: "There are no answers yet.",
  more: "More",
  off: distance,

  // States.
  warming: "Warming up: the network is being loaded. This takes some seconds.",
  failed: "No model can be used, so no photo can be answered.",
  emptyTitle: "There are no photos to compare with yet.",
  emptyHelp: "Ingest photos whose places are known: geosearch ingest FOLDER --collection NAME, then geosearch embed.",
  gone: "The server does not answer. It is tried again every few seconds.",
  notAllowed: "This role may not do that.",
  noAnswer: (id: number) => `There is no answer ${id} that you may see.`,
  noAnswerHelp: "It was deleted, or it rests on photos of which some are not yours to see.",
  linkHides: "The link asks for something that is not there, or not yours to see. This is the answer as it was recorded.",
  yourRights: "Asked with your rights: photos that are not yours to see do not count, so others may be shown another answer.",
  noMap: "This browser cannot draw the map (WebGL is off). The answer is in words.",
  wentWrong: "Something went wrong.",

  // Login.
  logIn: "Log in",
  role: "Role of the database",
  password: "Password",
  wrongLogin: "Role or password is wrong.",

  // The map.
  map: "Map",
  mapOf: (sentence: string) => `Map. ${sentence}`,
  zoomIn: "Zoom in",
  zoomOut: "Zoom out",
  showAll: "Show the whole answer",
};
