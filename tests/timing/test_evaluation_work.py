"""What an evaluation computes."""

from pathlib import Path

from optishear.parameters.evaluation import EvaluationParameters
from optishear.timing.evaluation_work import evaluation_work
from task_folder import TaskFolder
from tiny import make_tokenizer


def test_windows_are_counted(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("xyz " * 100, encoding="utf-8")
    counted = EvaluationParameters(evaluation_text=str(text), window_length=50)
    # 399 characters and the first token; the file's last blank is dropped.
    assert evaluation_work(make_tokenizer(), counted, 256).windows == 8
    given = EvaluationParameters(evaluation_text=str(text), window_length=50, windows=3)
    assert evaluation_work(make_tokenizer(), given, 256).windows == 3
    assert evaluation_work(make_tokenizer(), EvaluationParameters(evaluation_text="none"), 256).windows == 0


def test_requests_are_those_of_all_examples(task_folder: TaskFolder) -> None:
    name = task_folder.add("parity")
    asked = EvaluationParameters(evaluation_text="none", tasks=[name], include_path=task_folder.path)
    requests = evaluation_work(make_tokenizer(), asked, 256).requests
    # Twelve questions with two answers each, "even" and "odd" of more than one token.
    assert sum(each.count for each in requests) == 24
    assert all(each.generated == 0 for each in requests)
    fewer = asked.model_copy(update={"limit": 5})
    assert sum(each.count for each in evaluation_work(make_tokenizer(), fewer, 256).requests) == 10


def test_answers_of_one_token_share_their_prompt(task_folder: TaskFolder) -> None:
    name = task_folder.add("letters", doc_to_choice=["a", "b"], target_delimiter="")
    asked = EvaluationParameters(evaluation_text="none", tasks=[name], include_path=task_folder.path)
    tokenizer = make_tokenizer()
    tokenizer.add_bos_token = False
    counts = sum(each.count for each in evaluation_work(tokenizer, asked, 256).requests)
    assert counts in (12, 24)  # the tokenizer may put its first token before each text


def test_generated_tokens_are_counted(task_folder: TaskFolder) -> None:
    name = task_folder.add(
        "written",
        output_type="generate_until",
        doc_to_target="{{answer}}",
        generation_kwargs={"until": ["\n"], "max_gen_toks": 7},
        metric_list=[{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    )
    asked = EvaluationParameters(evaluation_text="none", tasks=[name], include_path=task_folder.path)
    requests = evaluation_work(make_tokenizer(), asked, 256).requests
    assert {each.generated for each in requests} == {7}
    assert sum(each.count for each in requests) == 12


def test_a_long_text_is_split_into_windows_of_the_context(task_folder: TaskFolder) -> None:
    name = task_folder.add(
        "text",
        output_type="loglikelihood_rolling",
        doc_to_text="",
        doc_to_target="{{question}}" * 60,
        doc_to_choice=None,
        metric_list=[{"metric": "word_perplexity"}],
    )
    asked = EvaluationParameters(evaluation_text="none", tasks=[name], include_path=task_folder.path, limit=1)
    requests = evaluation_work(make_tokenizer(), asked, 32).requests
    assert {request.tokens for request in requests if request.count >= 2} == {32}
    assert all(request.tokens <= 32 for request in requests)
