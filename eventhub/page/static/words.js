// What things are called on the page.

export const PERIODS = ["first_half", "second_half", "first_half_extratime", "second_half_extratime", "shootout"];

const PERIOD_WORDS = {
  first_half: "First half",
  second_half: "Second half",
  first_half_extratime: "Extra time, first half",
  second_half_extratime: "Extra time, second half",
  shootout: "Shoot-out",
};
const BEGIN = {
  first_half: "Kick-off",
  second_half: "Second half begins",
  first_half_extratime: "Extra time begins",
  second_half_extratime: "Extra time, second half",
  shootout: "Shoot-out begins",
};
const END = {
  first_half: "Half-time",
  second_half: "End of 90 minutes",
  first_half_extratime: "Extra time, half-time",
  second_half_extratime: "End of extra time",
  shootout: "End of the shoot-out",
};
const TITLES = {
  own_goal: "Own goal",
  yellow_card: "Yellow card",
  second_yellow_card: "Second yellow, sent off",
  red_card: "Red card",
  penalty_awarded: "Penalty",
  var_review: "VAR",
  match_end: "Full time",
  keeper_leaving_line: "Keeper off his line",
  ball_out: "Ball out",
};
const ICONS = {
  goal: "ball",
  own_goal: "ball",
  yellow_card: "card",
  second_yellow_card: "cards",
  red_card: "card",
  substitution: "swap",
  var_review: "var",
  penalty_awarded: "spot",
  period_start: "whistle",
  period_end: "whistle",
  match_end: "whistle",
  shot: "shot",
  save: "save",
};

const plain = (text) => String(text).replaceAll("_", " ");
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

export const iconOf = (type) => ICONS[type] ?? "dot";
export const minuteOf = (minute) => (minute ? `${minute}′` : "");
export const isGoal = (type) => type === "goal" || type === "own_goal";

/** "Second half", "Half-time", "Full time": what a scoreboard says beside the clock. */
export function statusOf(sheet) {
  if (sheet.status === "live") return PERIOD_WORDS[sheet.period] ?? "Live";
  if (sheet.status === "break") return END[sheet.period] ?? "Break";
  if (sheet.status === "final") {
    if (sheet.period === "shootout") return "Full time, after penalties";
    return sheet.period?.endsWith("extratime") ? "Full time, after extra time" : "Full time";
  }
  return capital(sheet.status);
}

/** A line of the timeline: a title, who it is about, and a detail. */
export function describe(event, nameOf) {
  const payload = event.payload ?? {};
  const line = { title: TITLES[event.type] ?? capital(plain(event.type)), who: event.player ?? "", detail: "" };
  switch (event.type) {
    case "goal":
      line.detail = [payload.sub_type && plain(payload.sub_type).replace(" kick", ""), body(payload)].filter(Boolean).join(", ");
      break;
    case "shot":
      line.detail = [payload.sub_type && plain(payload.sub_type), payload.outcome && plain(payload.outcome)]
        .filter(Boolean)
        .join(", ");
      break;
    case "substitution":
      line.who = payload.player_in_id ? `${nameOf(payload.player_in_id)} on` : "";
      line.detail = `${event.player ?? nameOf(payload.player_out_id)} off`;
      break;
    case "var_review":
      line.who = payload.decision ? capital(plain(payload.decision)) : "Review";
      break;
    case "period_start":
      line.title = BEGIN[event.period] ?? "Period begins";
      break;
    case "period_end":
      line.title = END[event.period] ?? "Period ends";
      break;
    case "save":
      line.detail = payload.sub_type === "save_attempt" ? "attempt" : "";
      break;
    case "pass":
      line.detail = [payload.sub_type && plain(payload.sub_type), payload.accurate === false && "astray", payload.assist && "assist"]
        .filter(Boolean)
        .join(", ");
      break;
    default:
      line.detail = [payload.sub_type, payload.outcome].filter((part) => typeof part === "string").map(plain).join(", ");
  }
  return line;
}

function body({ body_part: part }) {
  return part === "head" ? "header" : part ? plain(part) : "";
}
