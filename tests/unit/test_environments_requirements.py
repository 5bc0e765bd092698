from pathlib import Path

import pytest

from moorage.environments.requirements import EnvironmentSpecError, read_environment_spec

MLMODEL = """
flavors:
  python_function:
    env: {conda: conda.yaml, virtualenv: python_env.yaml}
mlflow_version: 2.9.2
"""
PYTHON_ENV = """
python: 3.10
build_dependencies: [pip==23.2.1, setuptools==65.5.0]
dependencies: [-r requirements.txt]
"""


def write(folder: Path, **files: str) -> Path:
    """A model folder; a file name's dot is written as `__`."""
    for name, text in {"MLmodel": MLMODEL, **files}.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def test_python_env_decides_and_its_requirements_are_read_in_order(tmp_path):
    model = write(
        tmp_path,
        python_env__yaml=PYTHON_ENV,
        requirements__txt="# a comment\nmlflow==2.9.2\nnumpy==1.26.4 # pinned\n\npandas>=2, \\\n   <3\n",
        conda__yaml="channels: [defaults]\ndependencies: [python=3.8.1, {pip: [other==1.0]}]\n",
    )
    spec = read_environment_spec(model)
    assert spec.python == "3.10"
    assert spec.requirements == ("mlflow==2.9.2", "numpy==1.26.4", "pandas>=2,    <3")
    assert spec.build_dependencies == ("pip==23.2.1", "setuptools==65.5.0")
    assert spec.mlflow_version == "2.9.2"


def test_channels_of_conda_yaml_are_reported_although_python_env_is_used(tmp_path):
    model = write(
        tmp_path,
        python_env__yaml=PYTHON_ENV,
        requirements__txt="mlflow\n",
        conda__yaml="channels: [defaults, conda-forge]\ndependencies: [python=3.10, pip<24, openjdk=11]\n",
    )
    spec = read_environment_spec(model)
    assert spec.channels == ("defaults", "conda-forge")
    assert spec.conda_packages == ("openjdk=11",)
    assert spec.uses_defaults_channel


def test_conda_forge_alone_is_not_the_defaults_channel(tmp_path):
    model = write(tmp_path, conda__yaml="channels: [conda-forge]\ndependencies: [python=3.10]\n")
    assert not read_environment_spec(model).uses_defaults_channel


def test_conda_pip_section_is_used_without_python_env(tmp_path):
    model = write(
        tmp_path,
        conda__yaml="dependencies:\n- conda-forge::python=3.11.7=h1_0\n- pip\n- pip: [mlflow-skinny==2.9.2, six]\n",
        requirements__txt="wrong==1.0\n",
    )
    spec = read_environment_spec(model)
    assert (spec.python, spec.requirements) == ("3.11.7", ("mlflow-skinny==2.9.2", "six"))


def test_conda_file_that_mlmodel_names_is_read(tmp_path):
    model = write(
        tmp_path,
        MLmodel="flavors: {python_function: {env: mlflow_env.yml}}\n",
        mlflow_env__yml="dependencies: [python=3.9.18, {pip: [mlflow==1.30, six]}]\n",
    )
    assert read_environment_spec(model).requirements == ("mlflow==1.30", "six")


@pytest.mark.parametrize(
    ("wanted", "python"), [(">=3.9", None), ("<3.0,>=2.7", "3.0"), ("", None), ("==3.12", "3.12")]
)
def test_conda_python_range_lets_the_server_choose_where_it_satisfies_it(tmp_path, wanted, python):
    model = write(tmp_path, conda__yaml=f"dependencies: ['python{wanted}']\n")
    assert read_environment_spec(model).python == python


@pytest.mark.parametrize(
    ("lines", "last"),
    [
        ("six\n", "mlflow==2.9.2"),
        ("MLflow_Skinny>=2\n", "MLflow_Skinny>=2"),
        ("mlflow[extras]==2.9.2 ; python_version > '3'\n", "mlflow[extras]==2.9.2 ; python_version > '3'"),
        ("git+https://host/team/mlflow.git@main\n", "git+https://host/team/mlflow.git@main"),
        ("mlflow-tracing==3.1\n", "mlflow==2.9.2"),
    ],
)
def test_mlflow_of_the_model_is_added_unless_required_already(tmp_path, lines, last):
    assert read_environment_spec(write(tmp_path, requirements__txt=lines)).requirements[-1] == last


def test_constraints_and_nested_files_inside_the_model_are_followed(tmp_path):
    model = write(
        tmp_path,
        requirements__txt="mlflow\n-c constraints.txt\n-r more.txt\n",
        constraints__txt="numpy<2 # old\n",
        more__txt="six==1.17.0\n",
    )
    spec = read_environment_spec(model)
    assert spec.constraints == ("numpy<2",)
    assert spec.requirements == ("mlflow", "six==1.17.0")


def test_option_lines_are_kept_apart_from_requirements(tmp_path):
    other = "https://u:p@host/simple"
    options = ("--index-url https://host/simple", f"--extra-index-url={other}", "--no-binary :all:")
    spec = read_environment_spec(write(tmp_path, requirements__txt="\n".join([*options, "mlflow"])))
    assert spec.options == options
    assert spec.requirements == ("mlflow",)


def test_relative_paths_are_taken_from_the_model_folder(tmp_path):
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "pkg-1.0-py3-none-any.whl").write_bytes(b"one")
    lines = "mlflow\nwheels/pkg-1.0-py3-none-any.whl\n-f wheels\n--find-links https://host/links\n-e ./wheels\n"
    spec = read_environment_spec(write(tmp_path, requirements__txt=lines))
    wheels = tmp_path / "wheels"
    assert spec.requirements == ("mlflow", f"{wheels}/pkg-1.0-py3-none-any.whl", f"-e {wheels}")
    assert spec.options == (f"--find-links {wheels}", "--find-links https://host/links")


def test_content_of_a_wheel_in_the_model_changes_its_digest(tmp_path):
    wheel = tmp_path / "pkg-1.0-py3-none-any.whl"
    model = write(tmp_path, requirements__txt=f"mlflow\n./{wheel.name}\n")
    wheel.write_bytes(b"one")
    first = read_environment_spec(model).artifacts
    wheel.write_bytes(b"two")
    second = read_environment_spec(model).artifacts
    assert [each.path for each in first] == [wheel]
    assert first[0].sha256 != second[0].sha256


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"requirements__txt": "pandas=2.0\n"}, r"requirements.txt: 'pandas=2.0' is no valid requirement"),
        ({"requirements__txt": "wheels/gone.whl\n"}, r"requirements.txt: wheels/gone.whl is not in the model"),
        ({"requirements__txt": "-r gone.txt\n"}, r"requirements.txt: gone.txt is not in the model"),
        ({"requirements__txt": "-r requirements.txt\n"}, r"requirements.txt includes itself"),
        ({"requirements__txt": "-r ../../../etc/passwd\n"}, r"is outside the model"),
        ({"python_env__yaml": "python: [3"}, r"python_env.yaml: is no valid YAML"),
        ({"python_env__yaml": "- python"}, r"python_env.yaml: must be a YAML mapping"),
        ({"python_env__yaml": "python: three"}, r"python_env.yaml: python must be a version"),
        ({"python_env__yaml": "dependencies: six"}, r"python_env.yaml: dependencies must be a list"),
        ({"conda__yaml": "dependencies: [{npm: [x]}]"}, r"conda.yaml: .* is no conda dependency"),
        ({"MLmodel": "flavors: {python_function: {env: ../../x.yaml}}"}, r"MLmodel: .* is outside the model"),
    ],
)
def test_malformed_files_are_named_with_their_problem(tmp_path, files, message):
    with pytest.raises(EnvironmentSpecError, match=message):
        read_environment_spec(write(tmp_path, **files))


def test_folder_without_mlmodel_is_refused(tmp_path):
    with pytest.raises(EnvironmentSpecError, match="MLmodel: the model has no such file"):
        read_environment_spec(tmp_path)


def test_files_that_are_no_text_are_named(tmp_path):
    model = write(tmp_path)
    (model / "requirements.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(EnvironmentSpecError, match=r"requirements\.txt: cannot be read"):
        read_environment_spec(model)
