"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const store = "label-audit-" + document.body.dataset.digest;
  const element = (id) => document.getElementById(id);
  const list = element("issues");

  // Decisions outlive a closed window where the browser lets a local file store them.
  const stored = () => { try { return JSON.parse(localStorage.getItem(store)); } catch { return null; } };
  const save = () => { try { localStorage.setItem(store, JSON.stringify(book.list())); } catch { /* not allowed */ } };
  const book = new Book(stored() || data.decided);
  let unsaved = false;

  const make = (tag, className, text) => {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  };

  // Spans count code points, as Python does; JavaScript's strings count UTF-16 units.
  const marked = (text, spans) => {
    const node = make("p", "text");
    const points = [...text];
    const inside = points.map((_, i) => spans.some(([start, end]) => start <= i && i < end));
    for (let start = 0; start < points.length;) {
      let end = start;
      while (end < points.length && inside[end] === inside[start]) end += 1;
      const piece = points.slice(start, end).join("");
      node.append(inside[start] ? make("mark", "", piece) : piece);
      start = end;
    }
    return node;
  };

  const sentiment = (score) => {
    const found = data.sentiments.find((s) => s.score === score);
    return found ? `${found.name} (${score})` : String(score);
  };

  const suggested = (issue) => {
    if (issue.action === "add") return `${issue.keyword}: not tagged. Add it?`;
    const move = issue.suggestion ? ` Give ${issue.suggestion} instead?` : " Remove it?";
    return `${issue.keyword}: tagged ${sentiment(issue.score)}.${move}`;
  };

  const told = (taken) => {
    if (!taken) return "";
    if (taken.decision === "keep") return "→ kept as it is";
    if (taken.decision === "remove") return "→ removed";
    return `→ ${taken.keyword} ${sentiment(taken.score)}`;
  };

  const act = {
    y: (issue) => book.accept(issue),
    n: (issue) => { book.keep(issue); return true; },
    x: (issue) => {
      if (issue.score === null || issue.keyword === data.overall) return false;
      book.remove(issue);
      return true;
    },
    u: (issue) => { book.undo(issue); return true; },
  };
  data.sentiments.forEach(({ score }, i) => {
    act[String(i + 1)] = (issue) => { book.carry(issue, score); return true; };
  });

  const cards = data.issues.map((issue) => {
    const card = make("li", `issue ${issue.action}`);
    card.tabIndex = -1;
    const probability = issue.probability === null ? "" : ` · probability ${issue.probability.toFixed(2)}`;
    const head = make("div");
    head.append(make("span", "action", suggested(issue)), ` ${issue.id} · found by ${issue.found_by.join(" and ")}${probability}`);
    const decision = make("p", "decision");
    const buttons = make("div", "buttons");
    const button = (key, label) => {
      const node = make("button", "", label);
      node.type = "button";
      node.addEventListener("click", () => decide(cards.findIndex((c) => c.card === card), key));
      buttons.append(node);
    };
    if (issue.action === "remove") button("y", issue.suggestion ? `Move to ${issue.suggestion}` : "Remove");
    button("n", "Keep as it is");
    if (issue.action === "remove" && issue.suggestion) button("x", "Remove only");
    data.sentiments.forEach(({ name, score }, i) => button(String(i + 1), `${name} ${score}`));
    button("u", "Undo");
    const labels = Object.entries(issue.labels).map(([keyword, score]) => `${keyword} ${score}`).join(", ");
    card.append(head, marked(issue.text, issue.spans), make("p", "labels", `labels: ${labels || "none"}`));
    card.append(make("p", "why", issue.why), decision, buttons);
    list.append(card);
    return { issue, card, decision };
  });

  let current = -1;
  const focus = (index) => {
    current = index;
    cards[index].card.focus();
    cards[index].card.scrollIntoView({ block: "nearest" });
  };
  const step = (from, by) => {
    for (let i = from + by; i >= 0 && i < cards.length; i += by) {
      if (!cards[i].card.hidden) { focus(i); return; }
    }
  };

  const show = () => {
    let decided = 0;
    for (const { issue, card, decision } of cards) {
      const taken = book.of(issue);
      decided += taken ? 1 : 0;
      decision.textContent = told(taken);
      card.toggleAttribute("data-decided", Boolean(taken));
    }
    element("progress").textContent = `${decided} of ${cards.length} decided`;
  };
  const filter = () => {
    const [keyword, action, found] = ["keyword", "action", "found"].map((id) => element(id).value);
    let visible = 0;
    for (const { issue, card } of cards) {
      card.hidden = Boolean(
        (keyword && issue.keyword !== keyword) || (action && issue.action !== action) ||
        (found && !(found === "both" ? issue.found_by.length === 2 : issue.found_by.includes(found))) ||
        (element("open").checked && book.of(issue)));
      visible += card.hidden ? 0 : 1;
    }
    element("none").hidden = visible > 0;
  };

  const decide = (index, key) => {
    if (!act[key](cards[index].issue)) return;
    unsaved = true;
    save();
    show();
    if (key === "u") focus(index); else { current = index; step(index, 1); }
  };

  const download = () => {
    const link = make("a");
    link.href = URL.createObjectURL(new Blob([book.lines()], { type: "application/jsonl" }));
    link.download = "decisions.jsonl";
    link.click();
    URL.revokeObjectURL(link.href);
    unsaved = false;
  };

  for (const keyword of new Set(data.issues.map((issue) => issue.keyword))) {
    const count = data.issues.filter((issue) => issue.keyword === keyword).length;
    const option = make("option", "", `${keyword} (${count})`);
    option.value = keyword;
    element("keyword").append(option);
  }
  element("filters").addEventListener("change", filter);
  element("download").addEventListener("click", download);
  list.addEventListener("focusin", (event) => {
    const index = cards.findIndex(({ card }) => card.contains(event.target));
    if (index >= 0) current = index;
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select, input")) return;
    if (event.key === "j" || event.key === "ArrowDown") step(current, 1);
    else if (event.key === "k" || event.key === "ArrowUp") step(current, -1);
    else if (event.key === "d") download();
    else if (act[event.key] && current >= 0) decide(current, event.key);
    else return;
    event.preventDefault();
  });
  window.addEventListener("beforeunload", (event) => { if (unsaved) event.preventDefault(); });
  show();
  filter();
})();
