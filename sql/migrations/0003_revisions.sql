-- What a revision revises, for readers who asked for only some types: who was shown a goal is told that it was none.

alter table events
    add column revises text[];   -- kinds (`c:goal`) of what it revises, where that was something else; of most events null
