"use strict";
// The decisions that were taken, one for each review text and keyword, so that no two can contradict one another.
class Book {
  constructor(decisions) {
    this.entries = new Map();
    for (const decision of decisions) this.set(decision);
  }

  static key(text, keyword) { return JSON.stringify([text, keyword]); }

  set({ text, keyword, decision, score = null }) {
    this.entries.set(Book.key(text, keyword), { text, keyword, decision, score });
  }

  of(issue) { return this.entries.get(Book.key(issue.text, issue.keyword)); }

  keep(issue) { this.set({ ...issue, decision: "keep", score: null }); }

  remove(issue) { this.set({ ...issue, decision: "remove", score: null }); }

  carry(issue, score) { this.set({ ...issue, decision: issue.score === null ? "add" : "score", score }); }

  // Removes a wrong label and, where its words belong to another keyword, gives that one its score.
  // False for a missing label: it needs a score, which only the reader can give.
  accept(issue) {
    if (issue.action !== "remove") return false;
    this.remove(issue);
    if (issue.suggestion) {
      this.set({ text: issue.text, keyword: issue.suggestion, decision: "add", score: issue.score });
    }
    return true;
  }

  undo(issue) {
    const taken = this.of(issue);
    this.entries.delete(Book.key(issue.text, issue.keyword));
    if (taken && taken.decision === "remove" && issue.suggestion) {
      this.entries.delete(Book.key(issue.text, issue.suggestion));
    }
  }

  list() { return [...this.entries.values()]; }

  lines() { return this.list().map((entry) => JSON.stringify(entry) + "\n").join(""); }
}
